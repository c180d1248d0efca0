//! Writes the document.
use std::{fmt::Write as _, fs};

use crate::{
    Plan, Results, Row,
    limits::{KEY_BYTES, KILLS, RESTARTS, SOME_KEYS, VALUE_BYTES, WATCH_CONNECTIONS, WATCHED_PUTS, WATCHERS},
    size::Sizes,
    spread::Spread,
};

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// docs/benchmarks-kv.md
pub(crate) fn document(plan: &Plan, results: &Results) -> String {
    let mut text = String::new();
    head(&mut text, plan);
    rates(&mut text, plan, results);
    processor(&mut text, plan, &results.rows);
    tool(&mut text, plan, &results.rows);
    others(&mut text, plan, results);
    syncs(&mut text, plan, results);
    // What numbers cannot say, kept by hand.
    text.push_str(include_str!("tried.md"));
    text
}

/// A line; writing to memory does not fail.
fn line(text: &mut String, content: &str) {
    let _ = writeln!(text, "{content}");
}

fn head(text: &mut String, plan: &Plan) {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    line(text, "# Benchmarks of the store\n");
    line(
        text,
        &format!(
            "Written by `make bench-kv`, with etcd's own `benchmark` tool (Debian's source package), on {model}, {cores} cores, which tool and servers \
             share. Medians of {} rounds, with the least and the most in brackets; in each round every server has its turn on fresh data, on the same \
             disk. \"Ratio\" is to {}, the median of the rounds' ratios.",
            plan.rounds, plan.subjects[1].name
        ),
    );
    line(
        text,
        &format!("Servers: {}.\n", plan.subjects.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")),
    );
}

fn header(text: &mut String, plan: &Plan, what: &str, tail: &str) {
    let names: Vec<&str> = plan.subjects.iter().map(|subject| subject.name.as_str()).collect();
    line(text, &format!("| {what} | {} | {tail} |", names.join(" | ")));
    line(text, &format!("|---|{}", "---|".repeat(names.len() + what.matches('|').count() + tail.split('|').count())));
}

fn spread(spread: Spread, digits: usize) -> String {
    let Spread { least, median, most } = spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}

/// The first two cells of a row.
fn work(row: &Row) -> String {
    format!("{} | {}", row.workload.name, row.workload.requests())
}

fn rates(text: &mut String, plan: &Plan, results: &Results) {
    line(text, "## Requests a second\n");
    header(text, plan, "work | requests a run", "ratio | target | ");
    for row in &results.rows {
        let ratio = row.ratio(|sample| sample.rate, |sample| sample.rate);
        let cells: Vec<String> = row.spreads(|sample| sample.rate).into_iter().map(|rate| spread(rate, 0)).collect();
        let aim = row.workload.aim.rate;
        line(text, &format!("| {} | {} | {ratio:.2} | {aim} | {} |", work(row), cells.join(" | "), met(ratio >= aim)));
    }
}

fn processor(text: &mut String, plan: &Plan, rows: &[Row]) {
    line(text, "\n## Server processor time for 1,000 requests, ms\n");
    line(text, "User and system of every member, from /proc.\n");
    header(text, plan, "work | requests a run", "ratio | target | ");
    for row in rows {
        let ratio = row.ratio(|sample| sample.processor, |sample| sample.processor);
        let cells: Vec<String> =
            row.spreads(|sample| sample.processor).into_iter().map(|spent| spread(spent, 1)).collect();
        let aim = row.workload.aim.processor;
        let verdict = aim.map_or("", |aim| met(ratio <= aim));
        let aim = aim.map_or(String::new(), |aim| aim.to_string());
        line(text, &format!("| {} | {} | {ratio:.2} | {aim} | {verdict} |", work(row), cells.join(" | ")));
    }
}

/// The tool runs on the same processors: how much of them it takes bounds what any server can reach.
fn tool(text: &mut String, plan: &Plan, rows: &[Row]) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    line(text, "\n## What the tool leaves\n");
    line(
        text,
        &format!(
            "The tool's own processor time for 1,000 requests, ms; and the ratio that a server would reach that took no processor time at all, since \
             {cores} processors are all there is. Of a client that waits for its one request it says nothing.\n"
        ),
    );
    header(text, plan, "work | requests a run", "ratio at most | target | ");
    for row in rows.iter().filter(|row| row.workload.is_bound_by_tool()) {
        let most = row.ratio(|sample| cores as f64 * 1e6 / sample.tool, |sample| sample.rate);
        let cells: Vec<String> = row.spreads(|sample| sample.tool).into_iter().map(|spent| spread(spent, 1)).collect();
        let aim = row.workload.aim.rate;
        let verdict = if most >= aim { "" } else { "out of reach here" };
        line(text, &format!("| {} | {} | {most:.2} | {aim} | {verdict} |", work(row), cells.join(" | ")));
    }
}

/// A row whose numbers are better when they are smaller.
struct Small<'a> {
    what: &'a str,
    values: Vec<f64>,
    digits: usize,
    /// A ratio, or a number of its own.
    aim: Result<f64, f64>,
}

fn small(text: &mut String, row: &Small<'_>) {
    let ratio = row.values[0] / row.values[1];
    let digits = row.digits;
    let cells: Vec<String> = row.values.iter().map(|value| format!("{value:.digits$}")).collect();
    let (reached, aim) = match row.aim {
        Ok(most) => (ratio <= most, format!("ratio {most:.2}")),
        Err(most) => (row.values[0] <= most, format!("{most:.0}")),
    };
    line(text, &format!("| {} | {} | {ratio:.2} | {aim} | {} |", row.what, cells.join(" | "), met(reached)));
}

fn others(text: &mut String, plan: &Plan, results: &Results) {
    line(text, "\n## Memory, disk, restart, failover\n");
    line(
        text,
        &format!(
            "Stores filled by the tool: {KEY_BYTES}-byte keys, {VALUE_BYTES}-byte values, each key once; \"many\" are {} keys. Memory is VmRSS. Disk is \
             what the data folder takes after compaction and defragmentation. Restart is from the start of the program to an answer that counts the \
             keys, the median of {RESTARTS}. Failover is from SIGKILL of the leader of three members to the next acknowledged put, tried without pause on the two others \
             (default election time-outs), the median of {KILLS}.\n",
            plan.many_keys
        ),
    );
    header(text, plan, "what", "ratio | target | ");
    let of = |pick: fn(&Sizes) -> f64| results.sizes.iter().map(pick).collect::<Vec<f64>>();
    let data = (KEY_BYTES + VALUE_BYTES) as f64;
    let some = format!("memory, {SOME_KEYS} keys, MiB");
    let rows = [
        Small { what: "memory, idle, MiB", values: of(|s| s.idle as f64 / MIB), digits: 1, aim: Ok(0.2) },
        Small { what: &some, values: of(|s| s.some_keys as f64 / MIB), digits: 0, aim: Ok(1.0 / 3.0) },
        Small {
            what: "memory, many keys, MiB",
            values: of(|s| s.many_keys as f64 / MIB),
            digits: 0,
            aim: Ok(1.0 / 3.0),
        },
        Small { what: "restart, many keys, s", values: of(|s| s.restart), digits: 2, aim: Ok(0.1) },
        Small { what: "disk a key, bytes", values: of(|s| s.disk_a_key), digits: 0, aim: Err(1.3 * data) },
        Small {
            what: "failover, s",
            values: results.failover.iter().map(|s| s.median).collect(),
            digits: 2,
            aim: Ok(1.0 / 3.0),
        },
        Small { what: "program, MB", values: of(|s| s.binary as f64 / 1e6), digits: 2, aim: Err(4.0) },
    ];
    rows.iter().for_each(|row| small(text, row));
    line(
        text,
        &format!(
            "\n## Watch fan-out\n\nOne writer, {WATCHERS} watchers of its key over {WATCH_CONNECTIONS} connections, {WATCHED_PUTS} puts, each when every \
             watcher has seen the one before. The watchers are a client of this project, the same for all.\n"
        ),
    );
    header(text, plan, "what", "ratio");
    let fanout =
        |what: &str, values: Vec<String>, ratio: f64| format!("| {what} | {} | {ratio:.2} |", values.join(" | "));
    let all = &results.fanout;
    line(
        text,
        &fanout(
            "put to last watcher, ms",
            all.iter().map(|f| spread(f.last_ms, 1)).collect(),
            all[0].last_ms.median / all[1].last_ms.median,
        ),
    );
    line(
        text,
        &fanout(
            "events a second",
            all.iter().map(|f| format!("{:.0}", f.events)).collect(),
            all[0].events / all[1].events,
        ),
    );
    line(
        text,
        &fanout(
            "server ms for 1,000 events",
            all.iter().map(|f| format!("{:.2}", f.processor)).collect(),
            all[0].processor / all[1].processor,
        ),
    );
}

fn syncs(text: &mut String, plan: &Plan, results: &Results) {
    line(text, "\n## Durability is the same\n");
    line(
        text,
        "`strace -f -c` over a start, puts by one client one after the other, and a stop: fsync and fdatasync calls.\n",
    );
    line(text, "| server | puts | syncs |\n|---|---|---|");
    for (subject, syncs) in plan.subjects.iter().zip(&results.syncs) {
        match syncs {
            Some(syncs) => line(text, &format!("| {} | {} | {} |", subject.name, syncs.puts, syncs.calls)),
            None => line(text, &format!("| {} | — | strace is not installed |", subject.name)),
        }
    }
}
