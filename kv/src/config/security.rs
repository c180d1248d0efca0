//! The settings of TLS, under etcd's names.
use std::path::{Path, PathBuf};

use super::{ConfigError, Setting, split};
use crate::tls::{Allowed, ClientAuth, Origin, TlsFiles, Versions};

/// TLS for clients and for other members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// `--cert-file`, `--key-file`, `--trusted-ca-file`, `--client-cert-auth`
    pub clients: Option<TlsFiles>,
    /// The same with `--peer-`.
    pub peers: Option<TlsFiles>,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting { flag: "cert-file", variable: "ETCD_CERT_FILE", default: "", help: "certificate for clients (PEM)" },
    Setting { flag: "key-file", variable: "ETCD_KEY_FILE", default: "", help: "its private key (PEM)" },
    Setting {
        flag: "trusted-ca-file",
        variable: "ETCD_TRUSTED_CA_FILE",
        default: "",
        help: "authorities that sign clients' certificates (PEM); clients must show one then",
    },
    Setting {
        flag: "client-cert-auth",
        variable: "ETCD_CLIENT_CERT_AUTH",
        default: "false",
        help: "whether clients must show a certificate: true or false",
    },
    Setting {
        flag: "peer-cert-file",
        variable: "ETCD_PEER_CERT_FILE",
        default: "",
        help: "certificate for other members, as server and as client (PEM)",
    },
    Setting { flag: "peer-key-file", variable: "ETCD_PEER_KEY_FILE", default: "", help: "its private key (PEM)" },
    Setting {
        flag: "peer-trusted-ca-file",
        variable: "ETCD_PEER_TRUSTED_CA_FILE",
        default: "",
        help: "authorities that sign members' certificates (PEM); members must show one then",
    },
    Setting {
        flag: "peer-client-cert-auth",
        variable: "ETCD_PEER_CLIENT_CERT_AUTH",
        default: "false",
        help: "whether members must show a certificate: true or false",
    },
    Setting {
        flag: "client-crl-file",
        variable: "ETCD_CLIENT_CRL_FILE",
        default: "",
        help: "clients' certificates that were taken back (a revocation list, PEM or DER)",
    },
    Setting {
        flag: "peer-crl-file",
        variable: "ETCD_PEER_CRL_FILE",
        default: "",
        help: "members' certificates that were taken back",
    },
    Setting {
        flag: "auto-tls",
        variable: "ETCD_AUTO_TLS",
        default: "false",
        help: "TLS for clients with a certificate that is made here and signed by itself: true or false",
    },
    Setting {
        flag: "peer-auto-tls",
        variable: "ETCD_PEER_AUTO_TLS",
        default: "false",
        help: "the same between members: nobody reads along, but nobody knows who is at the other end",
    },
    Setting {
        flag: "peer-cert-allowed-cn",
        variable: "ETCD_PEER_CERT_ALLOWED_CN",
        default: "",
        help: "common names of which certificates of members must have one, comma-separated",
    },
    Setting {
        flag: "peer-cert-allowed-hostname",
        variable: "ETCD_PEER_CERT_ALLOWED_HOSTNAME",
        default: "",
        help: "hosts of which certificates of members must be good for one, comma-separated",
    },
    Setting {
        flag: "client-cert-allowed-hostname",
        variable: "ETCD_CLIENT_CERT_ALLOWED_HOSTNAME",
        default: "",
        help: "the same of clients' certificates",
    },
    Setting {
        flag: "tls-min-version",
        variable: "ETCD_TLS_MIN_VERSION",
        default: "TLS1.2",
        help: "oldest version of TLS for clients: TLS1.2, as those made for etcd up to 3.5 speak it, or TLS1.3",
    },
    Setting {
        flag: "tls-max-version",
        variable: "ETCD_TLS_MAX_VERSION",
        default: "TLS1.3",
        help: "newest version of TLS for clients",
    },
    Setting {
        flag: "cipher-suites",
        variable: "ETCD_CIPHER_SUITES",
        default: "",
        help: "cipher suites of TLS 1.2 for clients, comma-separated (default: all that there are)",
    },
];

/// Flags that are true when they stand alone, as in etcd.
pub(super) const SWITCHES: [&str; 4] = ["client-cert-auth", "peer-client-cert-auth", "auto-tls", "peer-auto-tls"];

/// Hosts in this member's addresses, for certificates that it makes itself.
pub(super) struct Hosts {
    clients: Vec<String>,
    peers: Vec<String>,
}

impl Hosts {
    pub(super) fn of(client_urls: &[String], peer_urls: &[String]) -> Self {
        Self { clients: hosts(client_urls), peers: hosts(peer_urls) }
    }
}

fn hosts(urls: &[String]) -> Vec<String> {
    let host = |url: &String| {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    };
    // A socket has no host.
    let mut hosts: Vec<String> =
        urls.iter().filter(|url| !url.starts_with("unix:")).map(host).filter(|host| !host.is_empty()).collect();
    hosts.dedup();
    hosts
}

/// Whom the settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Clients,
    Peers,
}

impl Side {
    /// What its flags begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Clients => "",
            Self::Peers => "peer-",
        }
    }

    /// Where in the data folder etcd puts certificates that it makes.
    fn folder(self) -> &'static str {
        match self {
            Self::Clients => "fixtures/client",
            Self::Peers => "fixtures/peer",
        }
    }

    fn allowed_host_flag(self) -> &'static str {
        match self {
            Self::Clients => "client-cert-allowed-hostname",
            Self::Peers => "peer-cert-allowed-hostname",
        }
    }

    fn revocation_flag(self) -> &'static str {
        match self {
            Self::Clients => "client-crl-file",
            Self::Peers => "peer-crl-file",
        }
    }
}

impl Security {
    pub(super) fn from_values(
        get: &impl Fn(&str) -> String,
        data_dir: &Path,
        hosts: &Hosts,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            clients: files(Side::Clients, get, data_dir, &hosts.clients)?,
            peers: files(Side::Peers, get, data_dir, &hosts.peers)?,
        })
    }
}

/// What clients may speak.
fn versions(get: &impl Fn(&str) -> String) -> Result<Versions, ConfigError> {
    let (oldest, newest) = (get("tls-min-version"), get("tls-max-version"));
    match (oldest.as_str(), newest.as_str()) {
        ("TLS1.2", "TLS1.3") => Ok(Versions::Both),
        ("TLS1.2", "TLS1.2") => Ok(Versions::Old),
        ("TLS1.3", "TLS1.3") => Ok(Versions::New),
        _ => Err(ConfigError(format!(
            "--tls-min-version {oldest} --tls-max-version {newest}: TLS1.2 or TLS1.3 was expected, the older one first"
        ))),
    }
}

fn switch(flag: &str, get: &impl Fn(&str) -> String) -> Result<bool, ConfigError> {
    // Go's ways to say it.
    match get(flag).as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(ConfigError(format!("--{flag} {other}: true or false was expected"))),
    }
}

fn files(
    side: Side,
    get: &impl Fn(&str) -> String,
    data_dir: &Path,
    hosts: &[String],
) -> Result<Option<TlsFiles>, ConfigError> {
    let prefix = side.prefix();
    let said = |flag: &str| Some(get(flag)).filter(|value| !value.is_empty());
    let path = |name: &str| said(&format!("{prefix}{name}"));
    let trusted: Option<PathBuf> = path("trusted-ca-file").map(Into::into);
    // As in etcd, who says which authorities are believed wants to see their certificates.
    let names_user = switch(&format!("{prefix}client-cert-auth"), get)?;
    let client_auth = if names_user || trusted.is_some() { ClientAuth::Required } else { ClientAuth::None };
    let (versions, suites) = match side {
        Side::Clients => (versions(get)?, split(&get("cipher-suites")).collect()),
        // Members are all of this program.
        Side::Peers => (Versions::New, Vec::new()),
    };
    let (name_flag, host_flag) = ("peer-cert-allowed-cn", side.allowed_host_flag());
    let names = said(name_flag).filter(|_| side == Side::Peers);
    let allowed = match (names, said(host_flag)) {
        (Some(name), Some(host)) => {
            return Err(ConfigError(format!("--{name_flag} {name} and --{host_flag} {host}: give one of them")));
        }
        (Some(names), None) => Some((name_flag, Allowed::CommonName(split(&names).collect()))),
        (None, hosts) => hosts.map(|hosts| (host_flag, Allowed::Host(split(&hosts).collect()))),
    };
    if let (Some((flag, _)), ClientAuth::None) = (&allowed, client_auth) {
        return Err(ConfigError(format!(
            "--{flag}: nobody need show a certificate without --{prefix}client-cert-auth or --{prefix}trusted-ca-file"
        )));
    }
    let allowed = allowed.map(|(_, allowed)| allowed);
    let files = |cert: String, key: String, origin| TlsFiles {
        origin,
        cert: cert.into(),
        key: key.into(),
        trusted,
        client_auth,
        names_user,
        revoked: said(side.revocation_flag()).map(Into::into),
        allowed,
        versions,
        suites,
    };
    match (path("cert-file"), path("key-file")) {
        (Some(cert), Some(key)) => {
            let files = files(cert, key, Origin::Given);
            if client_auth == ClientAuth::Required && files.trusted.is_none() {
                return Err(ConfigError(format!(
                    "--{prefix}client-cert-auth: --{prefix}trusted-ca-file must say whose certificates are believed"
                )));
            }
            Ok(Some(files))
        }
        (None, None) if switch(&format!("{prefix}auto-tls"), get)? => {
            let file = |name: &str| data_dir.join(side.folder()).join(name).display().to_string();
            Ok(Some(files(file("cert.pem"), file("key.pem"), Origin::SelfSigned(hosts.to_vec()))))
        }
        (None, None) if client_auth == ClientAuth::None => Ok(None),
        _ => Err(ConfigError(format!("--{prefix}cert-file and --{prefix}key-file belong together"))),
    }
}
