//! Why there is no plan: every refusal names its field.

use std::fmt;

/// Why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A field that this runtime does not honour.
    Field {
        /// Its path in the specification.
        field: String,
    },
    /// A field without which there is no container.
    Missing {
        /// Its path in the specification.
        field: String,
    },
    /// A value that makes no sense.
    Value {
        /// Path of the field.
        field: String,
        /// As given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// What this host or its kernel cannot do.
    Host {
        /// Path of the field.
        field: String,
        /// What is missing here.
        lacks: String,
    },
    /// Text that is not a specification.
    Unreadable {
        /// Where the reader was, as a path of fields.
        field: String,
        /// What it says.
        cause: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field } => write!(f, "{field}: not supported by this runtime; leave it out"),
            Self::Missing { field } => write!(f, "{field}: missing"),
            Self::Value { field, value, expected } => write!(f, "{field}: {value:?} is not {expected}"),
            Self::Host { field, lacks } => write!(f, "{field}: this host has no {lacks}; leave it out or provide it"),
            Self::Unreadable { field, cause } if field.is_empty() || field == "." => f.write_str(cause),
            Self::Unreadable { field, cause } => write!(f, "{field}: {cause}"),
        }
    }
}

impl std::error::Error for Refused {}

/// A value that makes no sense.
pub(crate) fn value(field: impl Into<String>, value: impl Into<String>, expected: &'static str) -> Refused {
    Refused::Value { field: field.into(), value: value.into(), expected }
}

/// Refuses a field that is there and not honoured.
pub(crate) fn absent<T>(present: Option<&T>, field: &str) -> Result<(), Refused> {
    present.map_or(Ok(()), |_| Err(Refused::Field { field: field.to_owned() }))
}
