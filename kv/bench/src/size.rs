//! Memory, disk and restart of stores that hold many keys.
use std::{fs, thread::sleep, time::Duration, time::Instant};

use hull_kv_proto::{
    client::connect,
    etcdserverpb::{CompactionRequest, DefragmentRequest, RangeRequest},
};

use crate::{
    Outcome, Plan,
    cluster::{Cluster, Subject, runtime},
    limits::{KEY_BYTES, RESTARTS, SOME_KEYS, VALUE_BYTES},
    load,
    spread::Spread,
};

/// Time for a server to put away what it does in the background before it is looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// Bytes, and seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) binary: u64,
    pub(crate) idle: u64,
    pub(crate) some_keys: u64,
    pub(crate) many_keys: u64,
    /// From start to the first answer that needs the data, with the many keys.
    pub(crate) restart: f64,
    /// On the disk, after compaction and defragmentation, a key of the many.
    pub(crate) disk_a_key: f64,
}

/// Measures one subject.
pub(crate) fn measure(plan: &Plan, subject: &Subject) -> Outcome<Sizes> {
    let mut sizes = Sizes { binary: fs::metadata(&subject.program)?.len(), ..Sizes::default() };
    let mut cluster = Cluster::start(subject, 1, &plan.scratch)?;
    sizes.idle = cluster.resident()?;
    fill(plan, &cluster, SOME_KEYS)?;
    sizes.some_keys = cluster.resident()?;
    fill(plan, &cluster, plan.many_keys)?;
    sizes.many_keys = cluster.resident()?;
    eprintln!("size: {}: filled: {sizes:?}", subject.name);
    compact(&cluster)?;
    sleep(SETTLE);
    sizes.disk_a_key = cluster.on_disk()? as f64 / plan.many_keys as f64;
    let mut restarts = Vec::new();
    for _ in 0..RESTARTS {
        cluster.stop(0)?;
        let begun = Instant::now();
        cluster.spawn(0)?;
        cluster.wait()?;
        read(&cluster)?;
        restarts.push(begun.elapsed().as_secs_f64());
    }
    sizes.restart = Spread::of(restarts).median;
    eprintln!("size: {}: {sizes:?}", subject.name);
    Ok(sizes)
}

/// Keys 0 to `keys`, one after the other, so that each is there once.
fn fill(plan: &Plan, cluster: &Cluster, keys: u64) -> Outcome<()> {
    let (keys, key, value) = (keys.to_string(), KEY_BYTES.to_string(), VALUE_BYTES.to_string());
    let arguments = ["put", "--sequential-keys", "--clients", "500", "--conns", "50", "--total", &keys];
    let sizes = ["--key-space-size", &keys, "--key-size", &key, "--val-size", &value];
    load::run(&plan.tool, &cluster.endpoints(), &[&arguments[..], &sizes[..]].concat())?;
    sleep(SETTLE);
    Ok(())
}

fn compact(cluster: &Cluster) -> Outcome<()> {
    runtime()?.block_on(async {
        let mut store = connect(&cluster.endpoints()).await?;
        let range = store.kv.range(RangeRequest { key: "x".into(), ..RangeRequest::default() }).await?.into_inner();
        let revision = range.header.map_or(0, |header| header.revision);
        store.kv.compact(CompactionRequest { revision, physical: true }).await?;
        store.maintenance.defragment(DefragmentRequest {}).await?;
        Ok(())
    })
}

fn read(cluster: &Cluster) -> Outcome<()> {
    runtime()?.block_on(async {
        let mut store = connect(&cluster.endpoints()).await?;
        let all = RangeRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            count_only: true,
            ..RangeRequest::default()
        };
        let count = store.kv.range(all).await?.into_inner().count;
        if count == 0 { Err("after the restart the store is empty".into()) } else { Ok(()) }
    })
}
