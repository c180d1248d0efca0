//! Values, in memory or where the shell has put them: the state machine knows a place and asks for its bytes.
use std::fmt;

use bytes::Bytes;

use crate::error::Refused;

/// Where a value lies outside memory. Only the shell that chose it knows what its numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the shell's files.
    pub file: u32,
    /// Where in it (bytes).
    pub offset: u64,
    /// Bytes of the value; never 0.
    pub length: u32,
}

/// The bytes at a place are not what was put there, or cannot be read. The shell knows why and where; the member must
/// stop, since it can neither answer nor go on without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Refused::Unreadable.message())
    }
}

impl std::error::Error for Unreadable {}

impl From<Unreadable> for Refused {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// Reads values that lie outside memory. It never changes: for other places the store is given another one
/// ([`crate::Store::set_values`]), and whoever holds the old one can go on reading the places that it knows.
pub trait Values: fmt::Debug + Send + Sync {
    /// The bytes at a place, checked.
    ///
    /// # Errors
    /// They are not what was put there, or cannot be read.
    fn read(&self, place: Place) -> Result<Bytes, Unreadable>;
}

/// Of a store whose values all are in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nowhere;

impl Values for Nowhere {
    fn read(&self, _: Place) -> Result<Bytes, Unreadable> {
        Err(Unreadable)
    }
}

/// The value of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Here(Bytes),
    Away(Place),
}

impl Value {
    pub(crate) const NONE: Self = Self::Here(Bytes::new());

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Away(place) => place.length as usize,
        }
    }

    /// The bytes, if they are in memory; none otherwise.
    pub(crate) fn in_memory(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Away(_) => &[],
        }
    }

    pub(crate) fn read(&self, values: &dyn Values) -> Result<Bytes, Unreadable> {
        match self {
            Self::Here(bytes) => Ok(bytes.clone()),
            Self::Away(place) => values.read(*place),
        }
    }
}
