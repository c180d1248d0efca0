//! Simple tokens: random words that stand for a user until nobody has used them for a while. Every member learns of
//! each by the log and lets it lapse by its own clock, as etcd's do.
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::lease::Instant;

/// How long an unused token lives unless configured otherwise (milliseconds). etcd's `--auth-token-ttl`.
pub const TOKEN_TTL_MS: u64 = 300_000;

#[derive(Debug)]
struct Token {
    user: String,
    /// Last use, in milliseconds of the member's clock. Atomic, because a use only reads the store.
    used: AtomicU64,
}

/// Tokens that were given out.
#[derive(Debug)]
pub struct Tokens {
    known: HashMap<String, Token>,
    ttl_ms: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { known: HashMap::new(), ttl_ms: TOKEN_TTL_MS }
    }
}

impl Tokens {
    /// Sets how long an unused token lives (milliseconds); a member's own setting.
    pub fn set_ttl(&mut self, ttl_ms: u64) {
        self.ttl_ms = ttl_ms;
    }

    /// Whose token this is; a token that was not used for too long is nobody's.
    pub fn user_of(&self, token: &str, now: Instant) -> Option<&str> {
        let known = self.known.get(token).filter(|known| self.lives(known, now))?;
        known.used.fetch_max(now.0, Ordering::Relaxed);
        Some(&known.user)
    }

    fn lives(&self, token: &Token, now: Instant) -> bool {
        now.0.saturating_sub(token.used.load(Ordering::Relaxed)) < self.ttl_ms
    }

    /// Gives out a token, and forgets those that lapsed.
    pub(super) fn assign(&mut self, token: String, user: String, now: Instant) {
        let ttl_ms = self.ttl_ms;
        self.known.retain(|_, known| now.0.saturating_sub(known.used.load(Ordering::Relaxed)) < ttl_ms);
        self.known.insert(token, Token { user, used: AtomicU64::new(now.0) });
    }

    /// A user changed or went: its tokens are void.
    pub(super) fn void(&mut self, user: &str) {
        self.known.retain(|_, known| known.user != user);
    }

    /// Nobody's token counts any more.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}
