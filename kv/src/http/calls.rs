//! Every method of gRPC by its path. What is asked most often has a way of its own before it comes here: [`super::direct`] and
//! [`super::streaming`].
use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::Response;
use hull_kv_proto::{etcdserverpb::SnapshotRequest, gateway::ROUTES};
use prost::Message;
use tonic::{Status, body::Body};

use super::{
    frames, health, large,
    messages::{Messages, decoded, malformed, whole},
    streaming,
    unary::{self, framed},
};
use crate::api::Api;

/// The one message that answers a call, as it goes over the wire.
type Answer = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;

/// Answers a call. A request with one message is no larger than `largest` (bytes).
///
/// # Errors
/// The request is none, or the refusal of whoever was asked.
pub(super) async fn answer(api: Api, path: &str, body: Body, largest: usize) -> Result<Response<Body>, Status> {
    match path {
        unary::RANGE => large::range(api, body, largest).await,
        streaming::WATCH => Ok(frames::many(api.watch(Messages::new(body)))),
        streaming::KEEP_ALIVE => Ok(frames::many(api.keep_alives(Messages::new(body)))),
        "/etcdserverpb.Maintenance/Snapshot" => {
            let SnapshotRequest {} = decoded(whole(body, largest).await?)?;
            api.snapshot().await.map(frames::many)
        }
        "/v3electionpb.Election/Observe" => {
            let request = decoded(whole(body, largest).await?)?;
            Ok(frames::many(api.observe(request)))
        }
        health::CHECK => health::check(&api.shared, body).await,
        health::WATCH => health::watch(Arc::clone(&api.shared), body).await,
        _ => {
            let request = whole(body, largest).await?;
            let answer = begin(api, path, request).ok_or_else(|| Status::internal("nobody answers this method"))?;
            Ok(frames::one(answer.await?))
        }
    }
}

/// Begins a call with one request and one answer; `None` if there is no such method.
fn begin(api: Api, path: &str, request: Bytes) -> Option<Answer> {
    let answer = match path {
        unary::PUT => one(request, |request| async move { api.put_logged(request).await }),
        unary::DELETE_RANGE => one(request, |request| async move { api.delete_logged(request).await }),
        unary::TXN => one(request, |request| async move { api.txn_either(request).await }),
        "/etcdserverpb.KV/Compact" => one(request, |request| api.compact(request)),
        "/etcdserverpb.Lease/LeaseGrant" => one(request, |request| api.lease_grant(request)),
        "/etcdserverpb.Lease/LeaseRevoke" => one(request, |request| api.lease_revoke(request)),
        "/etcdserverpb.Lease/LeaseTimeToLive" => one(request, |request| api.lease_time_to_live(request)),
        "/etcdserverpb.Lease/LeaseLeases" => one(request, |request| api.lease_leases(request)),
        "/etcdserverpb.Cluster/MemberAdd" => one(request, |request| api.member_add(request)),
        "/etcdserverpb.Cluster/MemberRemove" => one(request, |request| api.member_remove(request)),
        "/etcdserverpb.Cluster/MemberUpdate" => one(request, |request| api.member_update(request)),
        "/etcdserverpb.Cluster/MemberList" => one(request, |request| api.member_list(request)),
        "/etcdserverpb.Cluster/MemberPromote" => one(request, |request| api.member_promote(request)),
        "/etcdserverpb.Maintenance/Alarm" => one(request, |request| api.alarm(request)),
        "/etcdserverpb.Maintenance/Status" => one(request, |request| api.status(request)),
        "/etcdserverpb.Maintenance/Defragment" => one(request, |request| api.defragment(request)),
        "/etcdserverpb.Maintenance/Hash" => one(request, |request| api.hash(request)),
        "/etcdserverpb.Maintenance/HashKV" => one(request, |request| api.hash_kv(request)),
        "/etcdserverpb.Maintenance/MoveLeader" => one(request, |request| api.move_leader(request)),
        "/etcdserverpb.Maintenance/Downgrade" => one(request, |request| api.downgrade(request)),
        "/etcdserverpb.Auth/AuthEnable" => one(request, |request| api.auth_enable(request)),
        "/etcdserverpb.Auth/AuthDisable" => one(request, |request| api.auth_disable(request)),
        "/etcdserverpb.Auth/AuthStatus" => one(request, |request| api.auth_status(request)),
        "/etcdserverpb.Auth/Authenticate" => one(request, |request| api.authenticate(request)),
        "/etcdserverpb.Auth/UserAdd" => one(request, |request| api.user_add(request)),
        "/etcdserverpb.Auth/UserGet" => one(request, |request| api.user_get(request)),
        "/etcdserverpb.Auth/UserList" => one(request, |request| api.user_list(request)),
        "/etcdserverpb.Auth/UserDelete" => one(request, |request| api.user_delete(request)),
        "/etcdserverpb.Auth/UserChangePassword" => one(request, |request| api.user_change_password(request)),
        "/etcdserverpb.Auth/UserGrantRole" => one(request, |request| api.user_grant_role(request)),
        "/etcdserverpb.Auth/UserRevokeRole" => one(request, |request| api.user_revoke_role(request)),
        "/etcdserverpb.Auth/RoleAdd" => one(request, |request| api.role_add(request)),
        "/etcdserverpb.Auth/RoleGet" => one(request, |request| api.role_get(request)),
        "/etcdserverpb.Auth/RoleList" => one(request, |request| api.role_list(request)),
        "/etcdserverpb.Auth/RoleDelete" => one(request, |request| api.role_delete(request)),
        "/etcdserverpb.Auth/RoleGrantPermission" => one(request, |request| api.role_grant_permission(request)),
        "/etcdserverpb.Auth/RoleRevokePermission" => one(request, |request| api.role_revoke_permission(request)),
        "/v3lockpb.Lock/Lock" => one(request, |request| api.lock(request)),
        "/v3lockpb.Lock/Unlock" => one(request, |request| api.unlock(request)),
        "/v3electionpb.Election/Campaign" => one(request, |request| api.campaign(request)),
        "/v3electionpb.Election/Proclaim" => one(request, |request| api.proclaim(request)),
        "/v3electionpb.Election/Leader" => one(request, |request| api.leader(request)),
        "/v3electionpb.Election/Resign" => one(request, |request| api.resign(request)),
        _ => return None,
    };
    Some(answer)
}

/// Reads the request, makes the call and writes its answer.
fn one<Q, A, F>(request: Bytes, call: impl FnOnce(Q) -> F) -> Answer
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    match Q::decode(request) {
        Ok(request) => {
            let answer = call(request);
            Box::pin(async move { answer.await.map(|answer| framed(&answer)) })
        }
        Err(why) => Box::pin(std::future::ready(Err(malformed(&why)))),
    }
}

/// What a call of something that is not there is told, in the words of etcd's gRPC library; `None` for what is there.
pub(super) fn unknown(path: &str) -> Option<Status> {
    let all = || ROUTES.iter().map(|route| route.grpc).chain([health::CHECK, health::WATCH]);
    if all().any(|known| known == path) {
        return None;
    }
    let Some((service, method)) = path.trim_start_matches('/').rsplit_once('/') else {
        return Some(Status::resource_exhausted(format!("malformed method name: {path:?}")));
    };
    let known = |path: &str| path.trim_start_matches('/').split('/').next() == Some(service);
    Some(Status::unimplemented(if all().any(known) {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_by_service_and_method() {
        let words = |path| unknown(path).map(|status| status.message().to_owned());
        assert_eq!(words("/etcdserverpb.KV/Nope").as_deref(), Some("unknown method Nope for service etcdserverpb.KV"));
        assert_eq!(words("/nope.Nope/Nope").as_deref(), Some("unknown service nope.Nope"));
        assert_eq!(words("/etcdserverpb.KV/Put/x").as_deref(), Some("unknown service etcdserverpb.KV/Put"));
        assert_eq!(words("/nope").as_deref(), Some("malformed method name: \"/nope\""));
        assert_eq!((words("/etcdserverpb.KV/Put"), words(health::WATCH)), (None, None));
    }
}
