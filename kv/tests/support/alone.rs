//! A member that is alone, for tests that drive one without a network.
use hull_kv::driver::{Birth, Identity, Start, Timing};

/// How it starts, for the first time or again.
pub(crate) fn alone() -> Start {
    let first = [("one".to_owned(), vec!["http://localhost:2380".to_owned()])];
    Start {
        identity: Identity { name: "one".into(), client_urls: vec![] },
        birth: Birth::found(&first, "test", "one").expect("is among them"),
        timing: Timing::default(),
        life: 1,
        catch_up_bytes: 0,
        quota_bytes: u64::MAX,
        burst_bytes: 0,
    }
}
