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

/// One run of a workload against one subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Server processor time for 1,000 requests, in ms.
    pub(crate) processor: f64,
    /// The tool's processor time for 1,000 requests, in ms.
    pub(crate) tool: f64,
}

/// A workload's samples: a list of subjects, each a list of rounds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static Workload,
    pub(crate) samples: Vec<Vec<Sample>>,
}

impl Row {
    /// A number of each subject.
    pub(crate) fn spreads(&self, number: impl Fn(&Sample) -> f64) -> Vec<Spread> {
        self.samples.iter().map(|rounds| Spread::of(rounds.iter().map(&number).collect())).collect()
    }

    /// The median of what the first subject is to the second within a round: a machine that grows slower does so for both.
    pub(crate) fn ratio(&self, first: impl Fn(&Sample) -> f64, second: impl Fn(&Sample) -> f64) -> f64 {
        let pairs = self.samples[0].iter().zip(&self.samples[1]);
        Spread::of(pairs.map(|(a, b)| first(a) / second(b)).collect()).median
    }
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
    let mut measured: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); count]; WORKLOADS.len()];
    for round in 0..plan.rounds {
        for members in [1, 3] {
            for turn in 0..count {
                let who = (turn + round) % count;
                let subject = &plan.subjects[who];
                let cluster = Cluster::start(subject, members, &plan.scratch)?;
                for (workload, row) in WORKLOADS.iter().zip(&mut measured).filter(|(work, _)| work.members == members) {
                    let before = cluster.processor_ms()?;
                    let load::Load { rate, tool_ms } = load::run(&plan.tool, &cluster.endpoints(), workload.arguments)?;
                    let thousands = workload.requests() as f64 / 1000.0;
                    let processor = (cluster.processor_ms()? - before) as f64 / thousands;
                    eprintln!("round {round}: {}: {}: {rate:.0}/s, {processor:.1} ms", subject.name, workload.name);
                    row[who].push(Sample { rate, processor, tool: tool_ms / thousands });
                }
            }
        }
    }
    let rows = WORKLOADS.iter().zip(measured).map(|(workload, samples)| Row { workload, samples });
    Ok(rows.collect())
}
