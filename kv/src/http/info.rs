//! What operators and monitors ask: health, version, metrics.
use std::sync::atomic::Ordering;

use http::{Method, Response, StatusCode, request::Parts};
use hull_kv_proto::etcdserverpb::AlarmType;
use tonic::body::Body;

use super::{method_not_allowed, probes, process, queried, text, whole};
use crate::{
    api::{Api, CLUSTER_VERSION, SERVER_VERSION},
    lock::{read, write},
    metrics::{Exposition, count},
    shared::Voice,
};

const JSON: &str = "application/json";

pub(super) async fn answer(api: &Api, request: &Parts) -> Response<Body> {
    let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
    if request.method == Method::GET
        && let Some(answer) = probes::answer(api, path, query).await
    {
        return answer;
    }
    let known: fn(&Api, &str) -> Response<Body> = match path {
        "/health" => health,
        "/livez" | "/readyz" => |_, _| method_not_allowed("GET"),
        "/version" => version,
        "/metrics" => |api, _| metrics(api),
        "/" => |_, _| text(StatusCode::OK, HELP),
        path => {
            return text(StatusCode::NOT_FOUND, format_args!("404 page not found: {path}; GET / lists what there is"));
        }
    };
    if request.method != Method::GET {
        return method_not_allowed("GET");
    }
    known(api, query)
}

const HELP: &str = "Hull's store speaks etcd's v3 API on this port.\n\
    GET, PUT, DELETE /kv/<key>   plain values; the key is what follows /kv, with its slash\n\
    GET /kv/<key>?wait=<rev>     answers when the key changes after revision <rev>\n\
    POST /v3/kv/range ...        the JSON gateway\n\
    GET /health /readyz /livez /version /metrics";

/// etcd's answer: false with an alarm up (unless excluded by `?exclude=NAME`) or without a leader.
fn health(api: &Api, query: &str) -> Response<Body> {
    let metrics = &api.shared.metrics;
    match trouble(api, query) {
        None => {
            count(&metrics.healthy);
            whole(StatusCode::OK, JSON, r#"{"health":"true","reason":""}"#)
        }
        Some(why) => {
            count(&metrics.unhealthy);
            whole(StatusCode::SERVICE_UNAVAILABLE, JSON, format!(r#"{{"health":"false","reason":"{why}"}}"#))
        }
    }
}

/// Why the member is not healthy.
fn trouble(api: &Api, query: &str) -> Option<String> {
    let excluded = |name: &str| queried(query, "exclude", name);
    let name = |alarm: i32| AlarmType::try_from(alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
    let raised = {
        let store = read(&api.shared.store);
        let mut names = store.alarms().all().iter().map(|alarm| name(alarm.alarm));
        names.find(|name| !excluded(name))
    };
    if let Some(alarm) = raised {
        return Some(format!("ALARM {alarm}"));
    }
    let leaderless = !api.shared.has_leader() && !queried(query, "serializable", "true");
    leaderless.then(|| "RAFT NO LEADER".to_owned())
}

fn version(_: &Api, _: &str) -> Response<Body> {
    whole(
        StatusCode::OK,
        JSON,
        // No member more than etcd's: some clients take no other.
        format!(r#"{{"etcdserver":"{SERVER_VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#),
    )
}

fn metrics(api: &Api) -> Response<Body> {
    let shared = &api.shared;
    let mut out = Exposition::default();
    let leads = shared.leads();
    out.gauge("etcd_server_has_leader", u8::from(shared.standing.leader.load(Ordering::Acquire) != 0));
    out.gauge("etcd_server_is_leader", u8::from(leads));
    out.gauge("etcd_server_is_learner", u8::from(shared.standing.voice() == Voice::Learner));
    out.labelled("etcd_server_id", &[("server_id", &format!("{:x}", shared.member))], 1);
    out.gauge("etcd_server_proposals_pending", shared.standing.pending.load(Ordering::Relaxed));
    shared.metrics.write(&mut out);
    let (usage, revision, compacted) = {
        let store = read(&shared.store);
        (store.usage(), store.revision(), store.compacted())
    };
    out.gauge("etcd_mvcc_db_total_size_in_bytes", shared.standing.disk_bytes.load(Ordering::Relaxed));
    out.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", usage.bytes);
    out.gauge("etcd_debugging_mvcc_keys_total", usage.keys);
    out.gauge("etcd_debugging_mvcc_current_revision", revision);
    out.gauge("etcd_debugging_mvcc_compact_revision", compacted);
    out.gauge("etcd_debugging_mvcc_watcher_total", write(&shared.store).hub_mut().len());
    out.labelled("etcd_server_version", &[("server_version", SERVER_VERSION)], 1);
    let cluster = CLUSTER_VERSION.rsplit_once('.').map_or(CLUSTER_VERSION, |(cluster, _)| cluster);
    out.labelled("etcd_cluster_version", &[("cluster_version", cluster)], 1);
    process::write(&mut out);
    whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into_text())
}
