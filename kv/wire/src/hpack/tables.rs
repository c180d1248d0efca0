//! The tables of HPACK: the one that everyone knows, and the one that a connection learns.
use std::collections::VecDeque;

use bytes::Bytes;

use super::{DEFAULT_TABLE, Field, OVERHEAD};

/// The fields that everyone knows (RFC 7541, appendix A); the first has index 1.
pub(super) const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The field of the static table at an index from 1.
pub(super) fn static_field(index: usize) -> Option<Field> {
    let (name, value) = STATIC_TABLE.get(index.checked_sub(1)?)?;
    Some((Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())))
}

/// What a field takes of a table (bytes, section 4.1).
fn size_of(field: &Field) -> usize {
    field.0.len() + field.1.len() + OVERHEAD
}

/// What a connection has learned, the newest first (section 2.3.2).
#[derive(Debug)]
pub(super) struct DynamicTable {
    fields: VecDeque<Field>,
    size: usize,
    most: usize,
}

impl Default for DynamicTable {
    fn default() -> Self {
        Self { fields: VecDeque::new(), size: 0, most: DEFAULT_TABLE }
    }
}

impl DynamicTable {
    /// The field at an index from 0.
    pub(super) fn get(&self, index: usize) -> Option<&Field> {
        self.fields.get(index)
    }

    /// Learns a field and forgets the oldest ones as far as needed; one that is larger than the table leaves it empty (section 4.4).
    pub(super) fn insert(&mut self, field: Field) {
        let size = size_of(&field);
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.fields.push_front(field);
        }
    }

    /// Takes no more than `most` bytes from now on (section 4.3).
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to {
            let Some(oldest) = self.fields.pop_back() else { return };
            self.size -= size_of(&oldest);
        }
    }

    /// What it takes (bytes).
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
