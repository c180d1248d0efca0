//! The settings of TLS, under etcd's names.
use super::{ConfigError, Setting};
use crate::tls::{ClientAuth, TlsFiles};

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
        help: "authorities that sign clients' certificates (PEM)",
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
        help: "authorities that sign members' certificates (PEM)",
    },
    Setting {
        flag: "peer-client-cert-auth",
        variable: "ETCD_PEER_CLIENT_CERT_AUTH",
        default: "false",
        help: "whether members must show a certificate: true or false",
    },
];

/// Flags that are true when they stand alone, as in etcd.
pub(super) const SWITCHES: [&str; 2] = ["client-cert-auth", "peer-client-cert-auth"];

impl Security {
    pub(super) fn from_values(get: &impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        Ok(Self { clients: files("", get)?, peers: files("peer-", get)? })
    }
}

fn files(prefix: &str, get: &impl Fn(&str) -> String) -> Result<Option<TlsFiles>, ConfigError> {
    let path = |name: &str| Some(get(&format!("{prefix}{name}"))).filter(|path| !path.is_empty());
    let auth = get(&format!("{prefix}client-cert-auth"));
    let client_auth = match auth.as_str() {
        "true" => ClientAuth::Required,
        "false" => ClientAuth::None,
        _ => return Err(ConfigError(format!("--{prefix}client-cert-auth {auth}: true or false was expected"))),
    };
    let trusted = path("trusted-ca-file").map(Into::into);
    match (path("cert-file"), path("key-file")) {
        (Some(_), Some(_)) if client_auth == ClientAuth::Required && trusted.is_none() => Err(ConfigError(format!(
            "--{prefix}client-cert-auth: --{prefix}trusted-ca-file must say whose certificates are believed"
        ))),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.into(), key: key.into(), trusted, client_auth })),
        (None, None) if client_auth == ClientAuth::None => Ok(None),
        _ => Err(ConfigError(format!("--{prefix}cert-file and --{prefix}key-file belong together"))),
    }
}
