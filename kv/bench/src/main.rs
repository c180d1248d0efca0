//! Measures hull-kv beside etcd with etcd's own `benchmark` tool, in one run and in turn, and writes docs/benchmarks-kv.md.
//!
//! `kv/bench.sh` builds what this needs and calls it.
mod cluster;
mod failover;
mod fanout;
mod limits;
mod load;
mod report;
mod size;
mod spread;
mod sync;
mod workload;

use std::{error::Error, path::PathBuf};

use cluster::{Cluster, Subject};
use limits::{MANY_KEYS, ROUNDS, SOME_KEYS};
use spread::Spread;
use workload::{WORKLOADS, Workload};

/// What is measured, with what, and where it is written.
#[derive(Debug)]
pub(crate) struct Plan {
    /// hull-kv first; the ratios are to the second.
    pub(crate) subjects: Vec<Subject>,
    /// etcd's `benchmark`.
    pub(crate) tool: PathBuf,
    /// Runs of each workload and subject.
    pub(crate) rounds: usize,
    /// Where servers keep their data; on a disk, not in memory.
    pub(crate) scratch: PathBuf,
    /// The document.
    pub(crate) out: PathBuf,
    /// Keys of the largest store.
    pub(crate) many_keys: u64,
}

/// A workload's numbers, a row of subjects each.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static Workload,
    /// Requests a second.
    pub(crate) rate: Vec<Spread>,
    /// Server processor time for 1,000 requests, in ms.
    pub(crate) processor: Vec<Spread>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) sizes: Vec<size::Sizes>,
    pub(crate) failover: Vec<Spread>,
    pub(crate) fanout: Vec<fanout::Fanout>,
    pub(crate) syncs: Vec<Option<sync::Syncs>>,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let plan = plan()?;
    let mut results = Results { rows: workloads(&plan)?, ..Results::default() };
    for subject in &plan.subjects {
        results.syncs.push(sync::count(&plan, subject)?);
        results.failover.push(failover::measure(&plan, subject)?);
        results.fanout.push(fanout::measure(&plan, subject)?);
        results.sizes.push(size::measure(&plan, subject)?);
    }
    std::fs::write(&plan.out, report::document(&plan, &results))?;
    Ok(())
}

fn plan() -> Outcome<Plan> {
    let (mut subjects, mut tool, mut out, mut scratch) = (Vec::new(), None, None, None);
    let (mut rounds, mut many_keys) = (ROUNDS, MANY_KEYS);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::{Arg::Long, ValueExt as _};
        let Long(name) = &argument else { return Err(argument.unexpected().into()) };
        let name = (*name).to_owned();
        let value = arguments.value()?;
        match name.as_str() {
            "subject" => subjects.push(Subject::parse(&value.string()?)?),
            "tool" => tool = Some(PathBuf::from(value)),
            "out" => out = Some(PathBuf::from(value)),
            "scratch" => scratch = Some(PathBuf::from(value)),
            "rounds" => rounds = value.parse()?,
            "keys" => many_keys = value.parse()?,
            other => return Err(format!("bench-kv: --{other}: no such flag").into()),
        }
    }
    let missing = |what: &str| format!("bench-kv: --{what} is missing; kv/bench.sh gives it");
    if subjects.len() < 2 {
        return Err(missing("subject NAME=PROGRAM, twice").into());
    }
    Ok(Plan {
        subjects,
        rounds,
        tool: tool.ok_or_else(|| missing("tool"))?,
        out: out.ok_or_else(|| missing("out"))?,
        scratch: scratch.ok_or_else(|| missing("scratch"))?,
        many_keys: many_keys.max(SOME_KEYS),
    })
}

/// Every workload, `rounds` times, each subject in its turn; who begins changes from round to round.
fn workloads(plan: &Plan) -> Outcome<Vec<Row>> {
    let count = plan.subjects.len();
    let mut measured = vec![vec![(Vec::new(), Vec::new()); count]; WORKLOADS.len()];
    for round in 0..plan.rounds {
        for members in [1, 3] {
            for turn in 0..count {
                let who = (turn + round) % count;
                let subject = &plan.subjects[who];
                let cluster = Cluster::start(subject, members, &plan.scratch)?;
                for (workload, row) in WORKLOADS.iter().zip(&mut measured).filter(|(work, _)| work.members == members) {
                    let before = cluster.processor_ms()?;
                    let rate = load::run(&plan.tool, &cluster.endpoints(), workload.arguments)?;
                    let spent = (cluster.processor_ms()? - before) as f64 * 1000.0 / workload.requests() as f64;
                    eprintln!("round {round}: {}: {}: {rate:.0}/s, {spent:.1} ms", subject.name, workload.name);
                    row[who].0.push(rate);
                    row[who].1.push(spent);
                }
            }
        }
    }
    let spreads =
        |values: Vec<(Vec<f64>, Vec<f64>)>| values.into_iter().map(|(a, b)| (Spread::of(a), Spread::of(b))).unzip();
    let rows = WORKLOADS.iter().zip(measured).map(|(workload, values)| {
        let (rate, processor) = spreads(values);
        Row { workload, rate, processor }
    });
    Ok(rows.collect())
}
