//! What the head of a request says to whoever hands it on, found in one pass over its headers.
use http::{Method, Request};

/// What matters of a gRPC request's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// Whether it is gRPC as mostly spoken: nothing is compressed.
    pub(super) plain: Plain,
    /// Whether the client wants no answer of a member that has lost the cluster.
    pub(super) leader: Leader,
    /// The token that it shows.
    pub(super) token: Option<&'a [u8]>,
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
    /// Reads the head of a request of either kind of HTTP.
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        let fields = request.headers().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        Self::read(request.method().as_str().as_bytes(), fields)
    }

    /// Reads the head of a request as HTTP/2 brought it.
    pub(super) fn of_wire(head: &'a hull_kv_wire::Head) -> Self {
        Self::read(head.method(), head.fields())
    }

    fn read(method: &[u8], fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let (mut is_grpc, mut encoded) = (false, false);
        let (mut leader, mut token, mut authorization) = (Leader::Optional, None, None);
        // Looking each up by its name would hash every name.
        for (name, value) in fields {
            match name {
                b"content-type" => is_grpc = value == b"application/grpc",
                b"grpc-encoding" => encoded = true,
                // The JSON gateway's way to say what gRPC's metadata say.
                b"hasleader" | b"grpc-metadata-hasleader" if value == b"true" => leader = Leader::Required,
                b"token" | b"grpc-metadata-token" => token = token.or(Some(value)),
                b"authorization" => authorization = authorization.or(Some(value)),
                _ => {}
            }
        }
        let is_plain = is_grpc && !encoded && method == Method::POST.as_str().as_bytes();
        // gRPC clients send `token`, users of the JSON gateway and of `/kv` send `Authorization`; both bare.
        Self { plain: if is_plain { Plain::Yes } else { Plain::No }, leader, token: token.or(authorization) }
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
        assert_eq!(head.token, Some(&b"t"[..]));
        assert_eq!(Head::of(&request(&[("content-type", "application/grpc+proto")])).plain, Plain::No);
    }
}
