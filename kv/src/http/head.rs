//! What the head of a request says to whoever hands it on, found in one pass over its headers.
use http::{HeaderMap, HeaderValue, Method, Request};

/// What matters of a gRPC request's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// Whether it is gRPC as mostly spoken: nothing is compressed.
    pub(super) plain: Plain,
    /// Whether the client wants no answer of a member that has lost the cluster.
    pub(super) leader: Leader,
    /// The token that it shows.
    pub(super) token: Option<&'a HeaderValue>,
}

/// See [`Head::plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Yes,
    No,
}

/// See [`Head::leader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leader {
    Required,
    Optional,
}

impl<'a> Head<'a> {
    /// Reads a request's head.
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        let mut head = Self::of_headers(request.headers());
        if request.method() != Method::POST {
            head.plain = Plain::No;
        }
        head
    }

    fn of_headers(headers: &'a HeaderMap) -> Self {
        let (mut is_grpc, mut encoded) = (false, false);
        let (mut leader, mut token, mut authorization) = (Leader::Optional, None, None);
        // Looking each up by its name would hash every name.
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => is_grpc = value == "application/grpc",
                "grpc-encoding" => encoded = true,
                "hasleader" if value == "true" => leader = Leader::Required,
                "token" => token = token.or(Some(value)),
                "authorization" => authorization = authorization.or(Some(value)),
                _ => {}
            }
        }
        let plain = if is_grpc && !encoded { Plain::Yes } else { Plain::No };
        // gRPC clients send `token`, users of the JSON gateway and of `/kv` send `Authorization`; both bare.
        Self { plain, leader, token: token.or(authorization) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_it_speaks_what_it_wants_and_who_it_is() {
        let request = |headers: &[(&str, &str)]| {
            let builder =
                headers.iter().fold(Request::post("/"), |builder, (name, value)| builder.header(*name, *value));
            builder.body(()).expect("a request")
        };
        let plain = request(&[("content-type", "application/grpc"), ("te", "trailers"), ("hasleader", "false")]);
        let head = Head::of(&plain);
        assert_eq!((head.plain, head.leader, head.token), (Plain::Yes, Leader::Optional, None));
        let other = request(&[
            ("content-type", "application/grpc"),
            ("grpc-encoding", "gzip"),
            ("hasleader", "true"),
            ("authorization", "a"),
            ("token", "t"),
        ]);
        let head = Head::of(&other);
        assert_eq!((head.plain, head.leader), (Plain::No, Leader::Required));
        assert_eq!(head.token.map(HeaderValue::as_bytes), Some(&b"t"[..]));
        assert_eq!(Head::of(&request(&[("content-type", "application/grpc+proto")])).plain, Plain::No);
    }
}
