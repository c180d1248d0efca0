//! What operators and monitors ask: health, version, metrics.
use std::sync::atomic::Ordering;

use http::{Method, Response, StatusCode, request::Parts};
use hull_kv_proto::etcdserverpb::AlarmType;
use tonic::body::Body;

use super::{method_not_allowed, probes, queried, text, whole};
use crate::{
    api::{Api, CLUSTER_VERSION, SERVER_VERSION},
    lock::{read, write},
    metrics::Exposition,
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
    let excluded = |name: &str| queried(query, "exclude", name);
    let name = |alarm: i32| AlarmType::try_from(alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
    let raised = {
        let store = read(&api.shared.store);
        let mut names = store.alarms().all().iter().map(|alarm| name(alarm.alarm));
        names.find(|name| !excluded(name))
    };
    if let Some(alarm) = raised {
        let body = format!(r#"{{"health":"false","reason":"ALARM {alarm}"}}"#);
        return whole(StatusCode::SERVICE_UNAVAILABLE, JSON, body);
    }
    if !api.shared.has_leader() && !queried(query, "serializable", "true") {
        return whole(StatusCode::SERVICE_UNAVAILABLE, JSON, r#"{"health":"false","reason":"RAFT NO LEADER"}"#);
    }
    whole(StatusCode::OK, JSON, r#"{"health":"true","reason":""}"#)
}

fn version(_: &Api, _: &str) -> Response<Body> {
    whole(
        StatusCode::OK,
        JSON,
        format!(
            r#"{{"etcdserver":"{SERVER_VERSION}","etcdcluster":"{CLUSTER_VERSION}","hull":"{}"}}"#,
            env!("CARGO_PKG_VERSION")
        ),
    )
}

fn metrics(api: &Api) -> Response<Body> {
    let shared = &api.shared;
    let mut out = Exposition::default();
    let leads = shared.leads();
    out.gauge("etcd_server_has_leader", u8::from(shared.standing.leader.load(Ordering::Acquire) != 0));
    out.gauge("etcd_server_is_leader", u8::from(leads));
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
    out.line(&format!("etcd_server_version{{server_version=\"{SERVER_VERSION}\"}} 1"));
    process(&mut out);
    whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into_text())
}

/// proc(5): what the kernel knows of this process.
fn process(out: &mut Exposition) {
    if let Ok(statm) = std::fs::read_to_string("/proc/self/statm")
        && let Some(pages) = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok())
    {
        out.gauge("process_resident_memory_bytes", pages * rustix::param::page_size() as u64);
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("process_open_fds", fds.count());
    }
}
