//! Passwords and tokens: what needs randomness, time or long sums, and therefore stays outside the state machine.
use std::{fmt, time::Duration};

use hull_kv_core::{Auth, Caller, Instant, Refused};

use crate::{aside::aside, jwt::Jwt};

/// Letters in the random part of a simple token: 16 of 52 letters are 91 bits. etcd's length and letters.
const SECRET_LETTERS: usize = 16;

/// bcrypt's work factor (a power of two) unless configured otherwise. etcd's `--bcrypt-cost`.
pub const BCRYPT_COST: u32 = 10;

/// How users prove who they are, and what they get for it.
#[derive(Debug)]
pub struct Logins {
    /// bcrypt's work factor for new passwords.
    pub bcrypt_cost: u32,
    /// What a right password is answered with.
    pub tokens: TokenKind,
}

/// What a right password is answered with.
#[derive(Debug)]
pub enum TokenKind {
    /// A random word that every member learns of.
    Simple,
    /// A JSON Web Token.
    Jwt(Jwt),
}

/// Something that the machine, not the client, is to blame for.
#[derive(Debug)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl Logins {
    /// Whom a token stands for.
    ///
    /// # Errors
    /// Nobody.
    pub fn caller(&self, token: &str, auth: &Auth, now: Instant) -> Result<Caller, Refused> {
        match &self.tokens {
            TokenKind::Simple => {
                let user = auth.tokens().user_of(token, now).ok_or(Refused::InvalidAuthToken)?;
                Ok(Caller::User { name: user.to_owned(), revision: auth.revision() })
            }
            TokenKind::Jwt(jwt) => {
                let (name, revision) = jwt.user_of(token).ok_or(Refused::InvalidAuthToken)?;
                // 0 stands for no user at all.
                Ok(Caller::User { name, revision: revision.max(1) })
            }
        }
    }
}

/// Index of the log entry that gave out a simple token; `None` for another kind.
pub(crate) fn index_of(token: &str) -> Option<u64> {
    let (secret, index) = token.split_once('.')?;
    (secret.len() == SECRET_LETTERS).then(|| index.parse().ok()).flatten()
}

/// A random word for a simple token.
///
/// # Errors
/// The kernel has no random numbers for us.
pub(crate) fn secret() -> Result<String, Broken> {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut word = String::with_capacity(SECRET_LETTERS);
    let mut bytes = [0; 64];
    while word.len() < SECRET_LETTERS {
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Broken(format!("draw random numbers: {error}")))?;
        // Bytes from 208 on are left out, so that every letter is as likely as the others.
        let letters = bytes.iter().filter(|byte| **byte < 208).map(|byte| char::from(LETTERS[usize::from(*byte % 52)]));
        word.extend(letters.take(SECRET_LETTERS - word.len()));
    }
    Ok(word)
}

/// The bcrypt hash of a password, computed aside: it takes tens of milliseconds on purpose.
///
/// # Errors
/// The password cannot be hashed, or the kernel has no random numbers.
pub(crate) async fn hash(password: String, cost: u32) -> Result<String, Broken> {
    match aside(move || bcrypt::hash(password, cost)).await {
        Some(Ok(hash)) => Ok(hash),
        Some(Err(error)) => Err(Broken(format!("hash a password: {error}"))),
        None => Err(Broken("hash a password: the work on it ended early".to_owned())),
    }
}

/// Whether a password has this bcrypt hash, computed aside.
pub(crate) async fn matches(password: String, hash: bytes::Bytes) -> bool {
    let compare = move || {
        let hash = std::str::from_utf8(&hash).unwrap_or_default();
        bcrypt::verify(password, hash).unwrap_or(false)
    };
    aside(compare).await.unwrap_or(false)
}

/// How long an unused simple token lives unless configured otherwise. etcd's `--auth-token-ttl`.
pub const TOKEN_TTL: Duration = Duration::from_millis(hull_kv_core::TOKEN_TTL_MS);
