//! A build without JSON Web Tokens refuses them by name.
use std::convert::Infallible;

use super::{JwtError, JwtOptions, NotSigned};

/// There are no keys in use.
#[derive(Debug)]
pub struct Jwt(Infallible);

impl Jwt {
    /// # Errors
    /// Always: this build cannot.
    pub fn load(_options: JwtOptions) -> Result<Self, JwtError> {
        Err(JwtError("this build has no such tokens; build hull-kv with --features jwt, or use simple".into()))
    }

    /// # Errors
    /// None: it is never called.
    pub fn sign(&self, _user: &str, _revision: u64) -> Result<String, NotSigned> {
        match self.0 {}
    }

    /// Never called.
    pub fn user_of(&self, _token: &str) -> Option<(String, u64)> {
        match self.0 {}
    }
}
