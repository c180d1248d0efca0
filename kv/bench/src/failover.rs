//! How long a cluster of three takes no writes when its leader is killed.
use std::time::Instant;

use hull_kv_proto::{
    client::{Store, connect_lazy},
    etcdserverpb::PutRequest,
};

use crate::{
    Outcome, Plan,
    cluster::{Cluster, Subject, runtime},
    limits::{KILLS, LOOK, PATIENCE, WRITE_TRY},
    spread::Spread,
};

/// Seconds from SIGKILL of the leader to the first acknowledged put, of [`KILLS`] kills; the killed member starts again in between.
pub(crate) fn measure(plan: &Plan, subject: &Subject) -> Outcome<Spread> {
    let mut cluster = Cluster::start(subject, 3, &plan.scratch)?;
    let mut seconds = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader()?;
        let others: Vec<String> = cluster
            .members
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != leader)
            .map(|(_, m)| m.endpoint())
            .collect();
        seconds.push(runtime()?.block_on(async {
            let mut stores = others.iter().map(|endpoint| connect_lazy(endpoint)).collect::<Result<Vec<_>, _>>()?;
            for store in &mut stores {
                put(store).await; // connected before the clock runs
            }
            cluster.kill(leader)?;
            let killed = Instant::now();
            loop {
                for store in &mut stores {
                    if put(store).await {
                        return Ok::<_, Box<dyn std::error::Error>>(killed.elapsed().as_secs_f64());
                    }
                }
                if killed.elapsed() > PATIENCE {
                    return Err(format!("{}: no write after {PATIENCE:?}", subject.name).into());
                }
                tokio::time::sleep(LOOK).await;
            }
        })?);
        eprintln!("failover: {}: {:.3} s", subject.name, seconds[seconds.len() - 1]);
        cluster.spawn(leader)?;
        cluster.wait()?;
    }
    Ok(Spread::of(seconds))
}

/// Whether a put was acknowledged in time.
async fn put(store: &mut Store) -> bool {
    let request = PutRequest { key: "failover".into(), value: "x".into(), ..PutRequest::default() };
    matches!(tokio::time::timeout(WRITE_TRY, store.kv.put(request)).await, Ok(Ok(_)))
}
