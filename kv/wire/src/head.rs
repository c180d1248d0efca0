//! The head of a request: what its header block says, checked (RFC 9113, section 8).
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::hpack::{Field, OVERHEAD};

/// The head of a request. Clients send the same one again and again, so it is shared and not taken apart.
#[derive(Debug)]
pub struct Head {
    method: Bytes,
    path: Bytes,
    fields: Vec<Field>,
    content_length: Option<u64>,
}

impl Head {
    /// The method.
    pub fn method(&self) -> &[u8] {
        &self.method
    }

    /// The path and, behind a question mark, the query. Begins with `/`, or is `*`.
    pub fn path(&self) -> &str {
        // Checked to be ASCII when it came.
        std::str::from_utf8(&self.path).unwrap_or_default()
    }

    /// The fields in their order, with lower-case names.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How long its body says it is (bytes).
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The same as a request of the `http` crate.
    ///
    /// # Errors
    /// It has a field, a method or a path that none may have.
    pub fn request<B>(&self, body: B) -> Result<Request<B>, http::Error> {
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::from_bytes(&self.method)?;
        *request.uri_mut() = Uri::from_maybe_shared(self.path.clone())?;
        for (name, value) in &self.fields {
            let value = HeaderValue::from_maybe_shared(value.clone())?;
            request.headers_mut().append(HeaderName::from_bytes(name)?, value);
        }
        Ok(request)
    }
}

/// Why a header block is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It breaks a rule (section 8.1.1).
    Malformed,
    /// It is larger than any may be.
    TooLarge,
}

/// Puts a head together, field by field.
#[derive(Debug)]
pub(crate) struct Heading {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    fields: Vec<Field>,
    content_length: Option<u64>,
    /// What more it may take (bytes, as section 6.5.2 counts them).
    left: usize,
    flaw: Option<Flaw>,
}

impl Heading {
    /// Begins one that may take `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            fields: Vec::new(),
            content_length: None,
            left: most,
            flaw: None,
        }
    }

    /// Takes a field. Once there is a flaw, the rest is passed over.
    pub(crate) fn field(&mut self, field: Field) {
        if self.flaw.is_some() {
            return;
        }
        match self.left.checked_sub(field.0.len() + field.1.len() + OVERHEAD) {
            Some(left) => self.left = left,
            None => self.flaw = Some(Flaw::TooLarge),
        }
        if self.take(field).is_none() {
            self.flaw = self.flaw.or(Some(Flaw::Malformed));
        }
    }

    fn take(&mut self, (name, value): Field) -> Option<()> {
        if name.first() == Some(&b':') {
            let place = match &*name {
                b":method" => &mut self.method,
                b":scheme" => &mut self.scheme,
                b":authority" => &mut self.authority,
                b":path" => &mut self.path,
                _ => return None,
            };
            // Each once, and all of them ahead of the others (section 8.3).
            if place.is_some() || !self.fields.is_empty() {
                return None;
            }
            *place = Some(value);
            return Some(());
        }
        if name.is_empty() || !name.iter().all(|byte| is_name(*byte)) || !is_value(&value) {
            return None;
        }
        match &*name {
            // These are about the connection, of which HTTP/2 speaks otherwise (section 8.2.2).
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => return None,
            b"te" if &*value != b"trailers" => return None,
            b"content-length" => {
                // Digits only, which is less than a number may be made of elsewhere.
                let digits = std::str::from_utf8(&value).ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
                let length = digits?.parse().ok()?;
                if self.content_length.is_some_and(|other| other != length) {
                    return None;
                }
                self.content_length = Some(length);
            }
            _ => {}
        }
        self.fields.push((name, value));
        Some(())
    }

    /// What is wrong with it as the fields behind a body (section 8.1).
    pub(crate) fn trailers(self) -> Result<(), Flaw> {
        let pseudo = [self.method, self.scheme, self.authority, self.path];
        match self.flaw {
            Some(flaw) => Err(flaw),
            None if pseudo.iter().any(Option::is_some) => Err(Flaw::Malformed),
            None => Ok(()),
        }
    }

    /// The head of a request.
    pub(crate) fn head(self) -> Result<Head, Flaw> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        // The authority is nobody's business here, so that it may be anything: clients of etcd 3.4 send a whole URL.
        let (Some(method), Some(_), Some(path)) = (self.method, self.scheme, self.path) else {
            return Err(Flaw::Malformed);
        };
        let is_path = path.starts_with(b"/") || &*path == b"*";
        if !is_path || !path.iter().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(Flaw::Malformed);
        }
        Ok(Head { method, path, fields: self.fields, content_length: self.content_length })
    }
}

/// Whether a byte may be in a name: a token in lower case (section 8.2.1; RFC 9110, section 5.6.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it may be a value (section 8.2.1).
fn is_value(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !is_blank(value.first()) && !is_blank(value.last()) && !value.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(fields: &[(&str, &str)]) -> Heading {
        let mut heading = Heading::new(1000);
        for (name, value) in fields {
            heading.field((Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes())));
        }
        heading
    }

    const PSEUDO: [(&str, &str); 4] =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a/b?c"), (":authority", "http://127.0.0.1:2379")];

    fn with(more: &[(&str, &str)]) -> Result<Head, Flaw> {
        heading(&[&PSEUDO[..], more].concat()).head()
    }

    #[test]
    fn a_head_is_what_was_sent_whatever_its_authority() {
        let head = with(&[("content-type", "application/grpc"), ("te", "trailers"), ("content-length", "5")]);
        let head = head.expect("a head");
        assert_eq!((head.method(), head.path(), head.content_length()), (&b"POST"[..], "/a/b?c", Some(5)));
        let request = head.request(()).expect("a request");
        assert_eq!((request.uri().path(), request.uri().query()), ("/a/b", Some("c")));
        assert_eq!(request.headers()["content-type"], "application/grpc");
    }

    #[test]
    fn what_breaks_a_rule_is_malformed() {
        let flaws: [&[(&str, &str)]; 12] = [
            &[(":path", "/")],
            &[(":status", "200")],
            &[("a", "b"), (":method", "GET")],
            &[("Upper", "case")],
            &[("", "empty")],
            &[("a b", "c")],
            &[("a", "line\nline")],
            &[("a", " blank")],
            &[("connection", "close")],
            &[("te", "gzip")],
            &[("content-length", "1"), ("content-length", "2")],
            &[("content-length", "+5")],
        ];
        for flaw in flaws {
            assert_eq!(with(flaw).err(), Some(Flaw::Malformed), "{flaw:?}");
        }
        for missing in [":method", ":scheme", ":path"] {
            let fields: Vec<_> = PSEUDO.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(heading(&fields).head().err(), Some(Flaw::Malformed), "without {missing}");
        }
        for path in ["", "a", "/a b", "/\u{e9}"] {
            let fields = [(":method", "GET"), (":scheme", "http"), (":path", path)];
            assert_eq!(heading(&fields).head().err(), Some(Flaw::Malformed), "{path:?}");
        }
    }

    #[test]
    fn a_head_takes_no_more_than_it_may() {
        assert_eq!(with(&[("a", &"x".repeat(1000))]).err(), Some(Flaw::TooLarge));
        let many = [("a", "b"); 40];
        assert_eq!(with(&many).err(), Some(Flaw::TooLarge));
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        assert_eq!(heading(&[("a", "b")]).trailers(), Ok(()));
        assert_eq!(heading(&PSEUDO).trailers(), Err(Flaw::Malformed));
    }
}
