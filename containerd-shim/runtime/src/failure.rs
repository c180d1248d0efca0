//! Why something could not be done: operation, object and cause.

use std::fmt;

/// What went wrong, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<hull_oci_core::oci::Refused> for Failure {
    fn from(refused: hull_oci_core::oci::Refused) -> Failure {
        Failure(format!("config.json: invalid configuration: {refused}"))
    }
}

/// For `map_err`: what was done to what.
pub fn failed<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// As [`failed`], with the sentence made only when it is needed.
pub fn failing<E: fmt::Display, D: fmt::Display>(what: impl FnOnce() -> D) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{}: {error}", what()))
}
