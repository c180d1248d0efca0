//! JSON Web Tokens as login tokens, if the program was built with them (feature `jwt`): members need not remember what they gave
//! out, and who holds the public key can tell whose a token is.
#[cfg(feature = "jwt")]
mod keys;
#[cfg(not(feature = "jwt"))]
mod off;
#[cfg(feature = "jwt")]
mod on;

use std::{fmt, path::PathBuf, time::Duration};

#[cfg(not(feature = "jwt"))]
pub use off::Jwt;
#[cfg(feature = "jwt")]
pub use on::Jwt;

/// How long a token lives unless `ttl` says otherwise: etcd's five minutes.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// What `--auth-token jwt,...` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtOptions {
    /// `sign-method`: RS256, ES256, ...
    pub method: String,
    /// `pub-key`: a public key or certificate (PEM), to tell whose a token is.
    pub public: Option<PathBuf>,
    /// `priv-key`: a private key (PEM), or the secret of HS256, HS384 and HS512, to sign with.
    pub private: Option<PathBuf>,
    /// `ttl`
    pub ttl: Duration,
}

/// Why tokens cannot be signed or checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtError(String);

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--auth-token jwt: {}", self.0)
    }
}

impl std::error::Error for JwtError {}

/// Why a right password got no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSigned {
    /// There is only a public key.
    VerifyOnly,
    /// The key does not sign.
    Broken(String),
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // etcd's words.
            Self::VerifyOnly => f.write_str("auth: token signing attempted with verify-only key"),
            Self::Broken(why) => write!(f, "sign a token: {why}"),
        }
    }
}
