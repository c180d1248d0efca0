//! What went wrong, as one line: operation, object, cause, remedy.

use std::fmt;

use hull_init_core::control::Refusal;

/// Something that could not be done.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What was tried, e.g. `mount`.
    pub(crate) operation: &'static str,
    /// On what, e.g. `/dev/vda1`.
    pub(crate) object: String,
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

impl Trouble {
    /// Puts the four parts together.
    pub(crate) fn new(
        operation: &'static str,
        object: impl fmt::Display,
        cause: impl fmt::Display,
        remedy: &'static str,
    ) -> Self {
        Self { operation, object: object.to_string(), cause: cause.to_string(), remedy }
    }

    /// As hullctl gets it.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::new(&self.object, self.operation, &self.cause, self.remedy)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}; {}", self.operation, self.object, self.cause, self.remedy)
    }
}
