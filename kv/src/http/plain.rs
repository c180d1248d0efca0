//! `/kv/<key>`: keys and values as people type them.
//!
//! The key is everything after `/kv`, its first slash included and percent-decoded: `/kv/config/greeting` is the key
//! `/config/greeting`, the same that `etcdctl get /config/greeting` reads. A key that does not begin with a slash is
//! `/kv?key=<key>`.
//!
//! `GET` answers the value as it is, with `X-Hull-Revision` (the store's revision at the read), `X-Hull-Key-Revision`
//! (when the key last changed), `X-Hull-Key-Version` and `X-Hull-Key-Lease`. `GET ...?wait=<revision>` answers once the
//! key has changed after that revision, with the value as it is then; `wait` without a number means from now on. To
//! follow a key, wait for the `X-Hull-Revision` of the last answer. `PUT` takes the body as the value (`?lease=<id>`
//! attaches it to a lease), `DELETE` removes the key.
use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hull_kv_proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, ResponseHeader},
    mvccpb::KeyValue,
};
use percent_encoding::percent_decode_str;
use tonic::{Code, Status, body::Body};

use super::{method_not_allowed, text, whole};
use crate::{
    api::{Api, Wait},
    lock::read,
};

/// What a request is about.
struct Target {
    key: Bytes,
    wait: Option<After>,
    lease: i64,
}

/// After which revision a change is waited for.
enum After {
    Now,
    Revision(i64),
}

impl Target {
    fn parse(path: &str, query: &str) -> Result<Self, String> {
        let mut key: Vec<u8> = percent_decode_str(path.strip_prefix("/kv").unwrap_or(path)).collect();
        let (mut wait, mut lease) = (None, 0);
        for (name, value) in query.split('&').filter(|pair| !pair.is_empty()).map(pair) {
            match name {
                "key" => key = percent_decode_str(value).collect(),
                "wait" if value.is_empty() => wait = Some(After::Now),
                "wait" => wait = Some(After::Revision(number(name, value)?)),
                "lease" => lease = number(name, value)?,
                _ => return Err(format!("unknown parameter {name}: there are key, wait and lease")),
            }
        }
        if key.is_empty() {
            return Err("no key: ask for /kv/<key>, or /kv?key=<key> if it does not begin with a slash".into());
        }
        Ok(Self { key: key.into(), wait, lease })
    }

    fn shown(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

fn number(name: &str, value: &str) -> Result<i64, String> {
    value.parse().ok().filter(|n| *n >= 0).ok_or_else(|| format!("{name}={value}: a whole number was expected"))
}

pub(super) async fn answer(api: Api, request: Request<Body>) -> Response<Body> {
    let target = match Target::parse(request.uri().path(), request.uri().query().unwrap_or_default()) {
        Ok(target) => target,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let answered = match *request.method() {
        Method::GET | Method::HEAD => get(&api, &target).await,
        Method::PUT | Method::POST => put(&api, target, request.into_body()).await,
        Method::DELETE => delete(&api, &target).await,
        _ => return method_not_allowed("GET, HEAD, PUT, POST, DELETE"),
    };
    answered.unwrap_or_else(|status| refusal(&status))
}

async fn get(api: &Api, target: &Target) -> Result<Response<Body>, Status> {
    if let Some(after) = &target.wait {
        let revision = match after {
            After::Now => read(&api.shared.store).revision(),
            After::Revision(revision) => *revision,
        };
        if !changed_after(api, &target.key, revision).await?
            && let Wait::Compacted(at) = api.wait(&target.key, revision).await
        {
            return Ok(text(
                StatusCode::GONE,
                format_args!(
                    "the history of {} before revision {at} is compacted, so nobody knows whether it changed after \
                     revision {revision}: read it without wait, then wait for the X-Hull-Revision of that answer",
                    target.shown()
                ),
            ));
        }
    }
    let response = api.range_local(&RangeRequest { key: target.key.clone(), ..RangeRequest::default() }).await?;
    Ok(match response.kvs.into_iter().next() {
        Some(pair) => value(response.header.as_ref(), pair),
        None => missing(response.header.as_ref(), target),
    })
}

/// Whether the key as it is now is newer than `revision`: then its history is not needed.
async fn changed_after(api: &Api, key: &Bytes, revision: i64) -> Result<bool, Status> {
    let request = RangeRequest { key: key.clone(), keys_only: true, ..RangeRequest::default() };
    let response = api.range_local(&request).await?;
    Ok(response.kvs.first().is_some_and(|pair| pair.mod_revision > revision))
}

fn value(header: Option<&ResponseHeader>, pair: KeyValue) -> Response<Body> {
    let mut response = whole(StatusCode::OK, "application/octet-stream", pair.value);
    set(&mut response, "x-hull-key-revision", pair.mod_revision);
    set(&mut response, "x-hull-key-version", pair.version);
    if pair.lease != 0 {
        set(&mut response, "x-hull-key-lease", pair.lease);
    }
    with_revision(response, header)
}

fn missing(header: Option<&ResponseHeader>, target: &Target) -> Response<Body> {
    with_revision(text(StatusCode::NOT_FOUND, format_args!("no such key: {}", target.shown())), header)
}

async fn put(api: &Api, target: Target, body: Body) -> Result<Response<Body>, Status> {
    let Ok(body) = Limited::new(body, api.bounds().request_bytes).collect().await else {
        return Ok(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format_args!("the value of {} is larger than {} bytes", target.shown(), api.bounds().request_bytes),
        ));
    };
    let request = PutRequest { key: target.key, value: body.to_bytes(), lease: target.lease, ..PutRequest::default() };
    let response = api.put_logged(request).await?;
    Ok(done(response.header.as_ref()))
}

async fn delete(api: &Api, target: &Target) -> Result<Response<Body>, Status> {
    let response =
        api.delete_logged(DeleteRangeRequest { key: target.key.clone(), ..DeleteRangeRequest::default() }).await?;
    Ok(if response.deleted == 0 { missing(response.header.as_ref(), target) } else { done(response.header.as_ref()) })
}

fn done(header: Option<&ResponseHeader>) -> Response<Body> {
    let revision = header.map_or(0, |header| header.revision);
    with_revision(text(StatusCode::OK, format_args!("revision {revision}")), header)
}

fn with_revision(mut response: Response<Body>, header: Option<&ResponseHeader>) -> Response<Body> {
    if let Some(header) = header {
        set(&mut response, "x-hull-revision", header.revision);
    }
    response
}

fn set(response: &mut Response<Body>, name: &'static str, number: i64) {
    response.headers_mut().insert(name, HeaderValue::from(number));
}

fn refusal(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::INSUFFICIENT_STORAGE,
        Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(code, status.message())
}
