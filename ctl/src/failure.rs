//! Refusals in four parts: on what, what was tried, what is wrong, what to do.

use crate::format::printable;
use hull_init_core::control::Refusal;
use std::fmt;

/// Exit status of what was refused or failed.
pub(crate) const EXIT_REFUSED: u8 = 1;

/// Exit status of a command line that hullctl does not understand.
pub(crate) const EXIT_USAGE: u8 = 2;

/// Why a verb was not performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// On what, e.g. `release /run/host/r2`.
    pub(crate) object: String,
    /// What was tried, e.g. `stage`.
    pub(crate) operation: String,
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Failure {
    pub(crate) fn new(
        operation: impl Into<String>,
        object: impl Into<String>,
        cause: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self { object: object.into(), operation: operation.into(), cause: cause.to_string(), remedy: remedy.into() }
    }
}

impl Failure {
    /// All four parts in one sentence, for a place within a page.
    pub(crate) fn sentence(&self) -> String {
        format!("{} {}: {}; {}", self.operation, self.object, self.cause, self.remedy)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.operation.as_str(), refusal.object.as_str(), refusal.cause.as_str(), refusal.remedy.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let safe = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
        write!(f, "{} {}: {}", safe(&self.operation), safe(&self.object), safe(&self.cause))?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  {}", safe(&self.remedy)) }
    }
}
