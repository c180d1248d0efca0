//! The three shapes of a key range, as etcd encodes them in `key` and `range_end`.
use std::ops::Bound;

/// Which keys a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    Single(Box<[u8]>),
    /// From the first (included) to the second (excluded).
    Span(Box<[u8]>, Box<[u8]>),
    /// Every key from this one on.
    From(Box<[u8]>),
}

/// Bounds for an ordered map of byte strings.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl KeyRange {
    /// From a request's fields: no end is a single key, an end of one zero byte is every key from `key` on.
    pub fn new(key: &[u8], end: &[u8]) -> Self {
        match end {
            [] => Self::Single(key.into()),
            [0] => Self::From(key.into()),
            _ => Self::Span(key.into(), end.into()),
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.first() <= key && self.reaches(key)
    }

    /// The first key that can lie in the range.
    pub(crate) fn first(&self) -> &[u8] {
        match self {
            Self::Single(key) | Self::Span(key, _) | Self::From(key) => key,
        }
    }

    /// Whether `key` is not beyond the range.
    pub(crate) fn reaches(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(only) => *key <= **only,
            Self::Span(_, to) => *key < **to,
            Self::From(_) => true,
        }
    }

    /// How far the range reaches, for comparisons: whether without end, otherwise to which key, and whether with it.
    pub(crate) fn end(&self) -> (bool, &[u8], bool) {
        match self {
            Self::Single(only) => (false, only, true),
            Self::Span(_, to) => (false, to, false),
            Self::From(_) => (true, &[], false),
        }
    }

    /// Whether no key at all can lie in the range.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Span(from, to) if from >= to)
    }

    /// As bounds of an ordered map; `None` for an empty range, on which ordered maps panic.
    pub(crate) fn bounds(&self) -> Option<KeyBounds<'_>> {
        match self {
            Self::Single(only) => Some((Bound::Included(only), Bound::Included(only))),
            Self::Span(from, to) if from < to => Some((Bound::Included(from), Bound::Excluded(to))),
            Self::Span(..) => None,
            Self::From(from) => Some((Bound::Included(from), Bound::Unbounded)),
        }
    }
}
