//! The setting of login tokens: `simple`, or `jwt` with its options.
use super::{ConfigError, Setting, history::duration};
use crate::jwt::{DEFAULT_TTL, JwtOptions};

/// What a right password is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// A random word.
    Simple,
    /// A JSON Web Token.
    Jwt(JwtOptions),
}

pub(super) const SETTINGS: &[Setting] = &[Setting {
    flag: "auth-token",
    variable: "ETCD_AUTH_TOKEN",
    default: "simple",
    help: "simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m",
}];

pub(super) fn tokens(text: &str) -> Result<Tokens, ConfigError> {
    let mut parts = text.split(',');
    match parts.next() {
        Some("simple") if parts.next().is_none() => Ok(Tokens::Simple),
        Some("jwt") => jwt(parts).map(Tokens::Jwt),
        _ => Err(ConfigError(format!("--auth-token {text}: simple or jwt,sign-method=... was expected"))),
    }
}

fn jwt<'a>(options: impl Iterator<Item = &'a str>) -> Result<JwtOptions, ConfigError> {
    let mut read = JwtOptions { method: String::new(), public: None, private: None, ttl: DEFAULT_TTL };
    for option in options {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| ConfigError(format!("--auth-token jwt: {option}: NAME=VALUE was expected")))?;
        match name {
            "sign-method" => value.clone_into(&mut read.method),
            "pub-key" => read.public = Some(value.into()),
            "priv-key" => read.private = Some(value.into()),
            "ttl" => {
                let ttl = duration(value).filter(|_| !value.ends_with(|c: char| c.is_ascii_digit()));
                read.ttl = ttl.ok_or_else(|| {
                    ConfigError(format!("--auth-token jwt: ttl={value}: a time such as 5m was expected"))
                })?;
            }
            _ => {
                let known = "sign-method, pub-key, priv-key and ttl";
                return Err(ConfigError(format!("--auth-token jwt: unknown option {name}: there are {known}")));
            }
        }
    }
    Ok(read)
}
