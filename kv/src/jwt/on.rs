//! Tokens by the crate `jsonwebtoken`, with etcd's claims: `username`, `revision` of users and roles, `exp`.
use std::{
    fmt, fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::{
    JwtError, JwtOptions, NotSigned,
    keys::{self, Kind},
};

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    exp: u64,
}

/// Keys in use.
pub struct Jwt {
    signs: Option<EncodingKey>,
    checks: DecodingKey,
    method: Algorithm,
    ttl: std::time::Duration,
}

impl fmt::Debug for Jwt {
    /// Keys are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("method", &self.method).finish_non_exhaustive()
    }
}

/// What a method signs and checks with.
enum Family {
    /// The same secret.
    Secret,
    /// A private and a public key of this kind.
    Pair(Kind),
}

fn method(name: &str) -> Result<(Algorithm, Family), JwtError> {
    Ok(match name {
        "HS256" => (Algorithm::HS256, Family::Secret),
        "HS384" => (Algorithm::HS384, Family::Secret),
        "HS512" => (Algorithm::HS512, Family::Secret),
        "RS256" => (Algorithm::RS256, Family::Pair(Kind::Rsa)),
        "RS384" => (Algorithm::RS384, Family::Pair(Kind::Rsa)),
        "RS512" => (Algorithm::RS512, Family::Pair(Kind::Rsa)),
        "PS256" => (Algorithm::PS256, Family::Pair(Kind::Rsa)),
        "PS384" => (Algorithm::PS384, Family::Pair(Kind::Rsa)),
        "PS512" => (Algorithm::PS512, Family::Pair(Kind::Rsa)),
        "ES256" => (Algorithm::ES256, Family::Pair(Kind::P256)),
        "ES384" => (Algorithm::ES384, Family::Pair(Kind::P384)),
        "EdDSA" => (Algorithm::EdDSA, Family::Pair(Kind::Ed25519)),
        "" => return Err(JwtError("sign-method is missing, such as sign-method=RS256".into())),
        other => {
            let known = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
            return Err(JwtError(format!("sign-method={other}: one of {known} was expected")));
        }
    })
}

fn contents(path: &Path) -> Result<Vec<u8>, JwtError> {
    fs::read(path).map_err(|error| JwtError(format!("read {}: {error}", path.display())))
}

impl Jwt {
    /// Reads the keys.
    ///
    /// # Errors
    /// Names the option or file that cannot be used, and why.
    pub fn load(options: JwtOptions) -> Result<Self, JwtError> {
        let (method, family) = method(&options.method)?;
        let bad = |path: &Path, why: &dyn fmt::Display| {
            let path = path.display();
            JwtError(format!("use {path} for {method:?}: {why}"))
        };
        let sign = |path: &Path| {
            let bytes = contents(path)?;
            match family {
                Family::Secret => Ok(EncodingKey::from_secret(&bytes)),
                Family::Pair(kind) => keys::private(&bytes, kind).map_err(|why| bad(path, &why)),
            }
        };
        let signs = options.private.as_deref().map(sign).transpose()?;
        let checks = match (&family, &options.public, &options.private) {
            (Family::Secret, _, Some(path)) => DecodingKey::from_secret(&contents(path)?),
            (Family::Secret, ..) => return Err(JwtError("priv-key is missing: the file with the secret".into())),
            (Family::Pair(_), None, _) => {
                return Err(JwtError("pub-key is missing: tokens are checked with it".into()));
            }
            (Family::Pair(kind), Some(path), _) => {
                keys::public(&contents(path)?, *kind).map_err(|why| bad(path, &why))?
            }
        };
        let jwt = Self { signs, checks, method, ttl: options.ttl };
        // Keys that do not belong together would refuse every login much later.
        match (jwt.sign("root", 1), options.private) {
            (Ok(token), _) if jwt.user_of(&token).is_none() => {
                Err(JwtError("pub-key does not accept what priv-key signs: they belong to different pairs".into()))
            }
            (Err(NotSigned::Broken(why)), Some(path)) => Err(bad(&path, &why)),
            _ => Ok(jwt),
        }
    }

    /// A token for a user whose password was right at this revision of users and roles.
    ///
    /// # Errors
    /// There is no private key, or it does not sign.
    pub fn sign(&self, user: &str, revision: u64) -> Result<String, NotSigned> {
        let key = self.signs.as_ref().ok_or(NotSigned::VerifyOnly)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims { username: user.to_owned(), revision, exp: (now + self.ttl).as_secs() };
        encode(&Header::new(self.method), &claims, key).map_err(|why| NotSigned::Broken(why.to_string()))
    }

    /// Whose token this is, and at which revision of users and roles it was given out; `None` for one that was changed, was signed
    /// with another key or method, or is too old.
    pub fn user_of(&self, token: &str) -> Option<(String, u64)> {
        let mut rules = Validation::new(self.method);
        rules.leeway = 0;
        let claims = decode::<Claims>(token, &self.checks, &rules).ok()?.claims;
        Some((claims.username, claims.revision))
    }
}
