//! TLS with certificates on both ends, for clients and between members, and certificates that are renewed.
mod support;

use std::{path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use support::{Member, folder, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// An authority whose certificate is in `ca.pem` of its folder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("sign");
        std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("write");
        Self { issuer: Issuer::new(params, key) }
    }

    /// Writes `NAME.pem` and `NAME.key`, good for 127.0.0.1 and both directions.
    fn sign(&self, folder: &Path, name: &str) {
        self.sign_for(folder, name, &["127.0.0.1"]);
    }

    /// The same, good for these hosts.
    fn sign_for(&self, folder: &Path, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("write");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("write");
    }
}

fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("certificate")
}

/// Asks for the version as client `name`, if any; answers the answer's head and the member's certificate.
async fn ask(
    folder: &Path,
    port: u16,
    name: Option<&str>,
) -> Result<(String, CertificateDer<'static>), std::io::Error> {
    ask_for(folder, port, name, "/version").await
}

/// The same for any path.
async fn ask_for(
    folder: &Path,
    port: u16,
    name: Option<&str>,
    path: &str,
) -> Result<(String, CertificateDer<'static>), std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(folder, "ca")).expect("root");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("key");
            builder.with_client_auth_cert(vec![certificate(folder, name)], key).expect("certificate")
        }
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let host = ServerName::try_from("127.0.0.1").expect("name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), shown))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Starts a member that serves clients with `server.pem` on a port, and believes the authority; with further flags.
fn serve(folder: &Path, port: u16, further: &[&str]) -> Member {
    let url = format!("https://127.0.0.1:{port}");
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| path(folder, name));
    let flags = [("listen-client-urls", url), ("cert-file", cert), ("key-file", key), ("trusted-ca-file", ca)];
    let flags = flags.map(|(flag, value)| format!("--{flag}={value}"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(further.iter().copied()).collect();
    Member::spawn(folder, port, &flags).ready()
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority_and_renewed_files_count_at_once() {
    let folder = folder();
    let files = folder.path();
    let authority = Authority::new(files);
    authority.sign(files, "server");
    authority.sign(files, "client");
    let port = free_port();
    let _member = serve(files, port, &["--client-cert-auth"]);
    let (answer, shown) = ask(files, port, Some("client")).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(shown, certificate(files, "server"));
    assert!(ask(files, port, None).await.is_err(), "a client without a certificate was served");

    // A stranger's certificate, good in itself, is not believed.
    let elsewhere = support::folder();
    Authority::new(elsewhere.path()).sign(elsewhere.path(), "client");
    std::fs::copy(files.join("ca.pem"), elsewhere.path().join("ca.pem")).expect("copy");
    assert!(ask(elsewhere.path(), port, Some("client")).await.is_err(), "a stranger was served");

    authority.sign(files, "server");
    let (_, shown) = ask(files, port, Some("client")).await.expect("an answer");
    assert_eq!(shown, certificate(files, "server"), "the renewed certificate is not used");
    // Half of a renewal: the old ones are used on.
    std::fs::write(files.join("server.key"), "no key").expect("write");
    assert!(ask(files, port, Some("client")).await.is_ok());
}

#[tokio::test]
async fn clients_whose_certificate_is_good_for_another_host_are_not_let_in() {
    let folder = folder();
    let files = folder.path();
    let authority = Authority::new(files);
    authority.sign(files, "server");
    authority.sign_for(files, "right", &["a.clients.example", "b.example"]);
    authority.sign_for(files, "wrong", &["clients.example", "a.b.clients.example"]);
    // A name of the subject is no host.
    authority.sign(files, "a.clients.example");
    let port = free_port();
    // Whoever names an authority wants to see its certificates.
    let _member = serve(files, port, &["--client-cert-allowed-hostname=x.example,a.clients.example"]);
    let (answer, _) = ask(files, port, Some("right")).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for name in [Some("wrong"), Some("a.clients.example"), None] {
        let answer = ask(files, port, name).await.map(|(answer, _)| answer).unwrap_or_default();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{name:?} was served: {answer}");
    }
}

/// The version and the cipher suite that a client agrees on which speaks only that version.
async fn agreed(
    folder: &Path,
    port: u16,
    version: &'static SupportedProtocolVersion,
) -> Option<(ProtocolVersion, CipherSuite)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(folder, "ca")).expect("root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let host = ServerName::try_from("127.0.0.1").expect("name");
    let stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await.ok()?;
    let session = stream.get_ref().1;
    Some((session.protocol_version()?, session.negotiated_cipher_suite()?.suite()))
}

#[tokio::test]
async fn clients_made_for_etcd_speak_tls_1_2_unless_that_is_switched_off_and_with_the_suites_that_are_named() {
    let folder = folder();
    let files = folder.path();
    Authority::new(files).sign(files, "server");
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
    let (old, new) = (Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3));
    for (more, expected) in [
        (vec![], (old, new)),
        (vec!["--tls-min-version=TLS1.3"], (None, new)),
        (vec!["--tls-max-version=TLS1.2"], (old, None)),
        (vec!["--cipher-suites", suite], (old, new)),
        (vec!["--cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA"], (None, new)),
    ] {
        let port = free_port();
        let (url, cert, key) =
            (format!("https://127.0.0.1:{port}"), path(files, "server.pem"), path(files, "server.key"));
        let flags = ["--listen-client-urls", &url, "--cert-file", &cert, "--key-file", &key];
        let flags: Vec<&str> = flags.into_iter().chain(more.iter().copied()).collect();
        let _member = Member::spawn(files, port, &flags).ready();
        let with_old = agreed(files, port, &TLS12).await;
        let with_new = agreed(files, port, &TLS13).await;
        assert_eq!((with_old.map(|(version, _)| version), with_new.map(|(version, _)| version)), expected, "{more:?}");
        if more.contains(&suite) {
            let only = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
            assert_eq!(with_old.map(|(_, suite)| suite), Some(only));
        }
    }
}

#[tokio::test]
async fn members_talk_only_to_members_with_a_certificate_of_their_authority() {
    let folders = [folder(), folder(), folder()];
    let authority_folder = folder();
    let files = authority_folder.path();
    let authority = Authority::new(files);
    authority.sign(files, "peer");
    let peers: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let list: Vec<String> =
        peers.iter().enumerate().map(|(at, port)| format!("m{at}=https://127.0.0.1:{port}")).collect();
    let spawn = |at: usize, files: &Path| {
        let flags = [
            "--name",
            &format!("m{at}"),
            "--initial-cluster",
            &list.join(","),
            "--peer-cert-file",
            &path(files, "peer.pem"),
            "--peer-key-file",
            &path(files, "peer.key"),
            "--peer-trusted-ca-file",
            &path(files, "ca.pem"),
            "--peer-client-cert-auth",
        ];
        Member::spawn(folders[at].path(), free_port(), &flags)
    };
    // One with certificates of another authority gets no answer from the other two.
    let stranger_folder = folder();
    Authority::new(stranger_folder.path()).sign(stranger_folder.path(), "peer");
    let stranger = spawn(2, stranger_folder.path());
    let (first, second) = (spawn(0, files), spawn(1, files));
    let (first, second) = (first.ready(), second.ready());
    let (head, _) = first.http("PUT", "/kv/k", "v");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = stranger.member.http("GET", "/readyz", "");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    stranger.member.kill();
    let third = spawn(2, files).ready();
    assert_eq!(third.http("GET", "/kv/k", "").1, "v");
    drop(second);
}

#[tokio::test]
async fn a_certificates_common_name_is_a_user_and_none_is_nobody() {
    let folder = folder();
    let authority = Authority::new(folder.path());
    for name in ["member", "root", "ann"] {
        authority.sign(folder.path(), name);
    }
    let (port, plain) = (free_port(), free_port());
    let urls = format!("https://127.0.0.1:{port},http://127.0.0.1:{plain}");
    let files = ["member.pem", "member.key", "ca.pem"].map(|name| path(folder.path(), name));
    let flags = [
        "--listen-client-urls",
        &urls,
        "--cert-file",
        &files[0],
        "--key-file",
        &files[1],
        "--trusted-ca-file",
        &files[2],
        "--bcrypt-cost",
        "4",
        "--client-cert-auth",
    ];
    let member = Member::spawn(folder.path(), plain, &flags).ready();
    for (path, body) in [
        ("user/add", r#"{"name":"root","options":{"no_password":true}}"#),
        ("role/add", r#"{"name":"root"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("enable", "{}"),
    ] {
        let (head, body) = member.http("POST", &format!("/v3/auth/{path}"), body);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {body}");
    }
    let asked = |name| ask_for(folder.path(), port, Some(name), "/kv/a");
    let (answer, _) = asked("root").await.expect("root's");
    assert!(answer.starts_with("HTTP/1.1 404"), "root may read, and there is nothing: {answer}");
    let (answer, _) = asked("ann").await.expect("ann's");
    assert!(answer.starts_with("HTTP/1.1 403"), "nobody knows ann: {answer}");
    let (head, _) = member.http("GET", "/kv/a", "");
    assert!(head.starts_with("HTTP/1.1 400"), "without TLS nobody is shown: {head}");
    // As in etcd: certificates are asked for all the same, but nobody is a user by them.
    drop(member);
    let (_, others) = flags.split_last().expect("flags");
    let _member = Member::spawn(folder.path(), plain, others).ready();
    let (answer, _) = asked("root").await.expect("whose certificate is good");
    assert!(answer.starts_with("HTTP/1.1 400"), "nobody is a user by a certificate: {answer}");
    assert!(ask_for(folder.path(), port, None, "/kv/a").await.is_err(), "a client without a certificate was served");
}

#[tokio::test]
async fn members_make_their_own_certificates_when_told_so_and_agree() {
    let folders = [folder(), folder(), folder()];
    let peers: Vec<String> = folders.iter().map(|_| format!("https://127.0.0.1:{}", free_port())).collect();
    let list: Vec<String> = peers.iter().enumerate().map(|(at, url)| format!("m{at}={url}")).collect();
    let list = list.join(",");
    let start = |at: usize| {
        let (name, port) = (format!("m{at}"), free_port());
        let flags = [
            "--name",
            &name,
            "--initial-cluster",
            &list,
            "--initial-advertise-peer-urls",
            &peers[at],
            "--peer-auto-tls",
        ];
        Member::spawn(folders[at].path(), port, &flags)
    };
    let starting = [start(0), start(1), start(2)];
    let members = starting.map(support::Starting::ready);
    assert!(members[0].http("PUT", "/kv/a", "1").0.starts_with("HTTP/1.1 200"));
    assert_eq!(members[2].http("GET", "/kv/a", "").1, "1");
    let key = folders[0].path().join("data/fixtures/peer/key.pem");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(key).expect("key"));
    assert_eq!(mode & 0o777, 0o600, "the key is the owner's only");
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let folder = folder();
    let run = |flags: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_hull-kv"))
            .args(["--data-dir".as_ref(), folder.path().join("data").as_os_str()])
            .args(flags)
            .output()
            .expect("run");
        assert!(!program.status.success());
        String::from_utf8(program.stderr).expect("text")
    };
    assert!(run(&["--cert-file", "a.pem"]).contains("--cert-file and --key-file belong together"));
    assert!(run(&["--cert-file", "/no/such.pem", "--key-file", "k"]).contains("use /no/such.pem for TLS"));
    let flags = ["--cert-file", "c", "--key-file", "k", "--client-cert-auth"];
    assert!(run(&flags).contains("--trusted-ca-file must say"));
    assert!(run(&["--listen-client-urls", "https://127.0.0.1:1"]).contains("--cert-file and --key-file"));
}
