//! Writes docs/benchmarks.md from what was measured; what is missing is written as missing.

use super::limits::{MEMORY, MEMORY_FOR_ALL, SMALL_MEMORY, runs, target};
use super::marks::{Missing, Spread, Start, Swap};
use super::{Place, Results, Runs};
use std::fmt::Write;

/// How long one part of a swap takes.
type Part = fn(&Swap) -> u64;

/// How far apart two moments of a start are.
type Distance = fn(&Start) -> Option<u64>;

const STORE: Distance = |start| Some(start.store - start.pid_1);
const EXAMPLE: Distance = |start| Some(start.example? - start.pid_1);

impl Runs {
    fn spread(&self, distance: impl Fn(&Start) -> Option<u64>) -> Option<Spread> {
        Spread::of(self.0.iter().flatten().filter_map(distance))
    }

    /// Why runs are missing, each reason once.
    fn reasons(&self) -> Vec<&str> {
        let mut reasons: Vec<_> =
            self.0.iter().filter_map(|run| run.as_ref().err()).map(|Missing(reason)| reason.as_str()).collect();
        reasons.dedup();
        reasons
    }
}

/// The whole document. `secrets` are paths that are left out of the reasons.
pub(super) fn document(results: &Results, secrets: &[String]) -> String {
    let mut text = String::new();
    let written = write_all(&mut text, results);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    for secret in secrets {
        text = text.replace(secret.as_str(), "…");
    }
    text
}

fn write_all(text: &mut String, results: &Results) -> std::fmt::Result {
    head(text, results)?;
    targets(text, results)?;
    writeln!(text, "\n## From memory: instructions only\n")?;
    writeln!(text, "{}", FROM_MEMORY.replace("{MEMORY}", &MEMORY_FOR_ALL.to_string()))?;
    place(text, &results.memory)?;
    writeln!(text, "\n## From disk\n")?;
    writeln!(text, "{}", FROM_DISK.replace("{MEMORY}", &MEMORY.to_string()))?;
    place(text, &results.disk)?;
    fresh(text, results)?;
    swaps(text, results)?;
    writeln!(text, "{}", METHOD.replace("{RUNS}", &runs().to_string()))?;
    match &results.packages {
        Ok(packages) => writeln!(text, "Compared packages: {packages}."),
        Err(Missing(reason)) => writeln!(text, "The systems compared are missing: {reason}."),
    }
}

fn head(text: &mut String, results: &Results) -> std::fmt::Result {
    let host = &results.host;
    writeln!(text, "# Benchmarks\n")?;
    writeln!(
        text,
        "Written by `make bench`. Times are guest time: one instruction is one nanosecond. So 0.1500 s are 150 million instructions,"
    )?;
    writeln!(
        text,
        "on any host. Each number is the median of {} runs, with the least and the most in brackets.\n",
        runs()
    )?;
    writeln!(text, "| measured with | |\n|---|---|")?;
    writeln!(text, "| processor | {} ({} cores) |", host.processor, host.cores)?;
    writeln!(text, "| emulator | {} |", host.qemu)?;
    writeln!(text, "| kernel of every system | {} |", host.kernel)
}

/// Whether a value keeps its target.
fn verdict(value: u64, limit: u64) -> &'static str {
    if value <= limit { "met" } else { "**not met**" }
}

fn targets(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(text, "\n## Targets\n\n| what | target | measured | |\n|---|---|---|---|")?;
    for size in &results.sizes {
        let limit = format!("{:.2} MB", size.limit as f64 / 1e6);
        match &size.bytes {
            Ok(bytes) => writeln!(
                text,
                "| {} | {limit} | {:.2} MB | {} |",
                size.name,
                *bytes as f64 / 1e6,
                verdict(*bytes, size.limit)
            )?,
            Err(Missing(reason)) => missing(text, size.name, &limit, reason)?,
        }
    }
    let resident = Spread::of(results.disk.hull.0.iter().flatten().filter_map(|start| start.pid_1_resident));
    let anonymous = Spread::of(results.disk.hull.0.iter().flatten().filter_map(|start| start.pid_1_anonymous));
    match (resident, anonymous) {
        (Some(resident), Some(anonymous)) => writeln!(
            text,
            "| PID 1 resident (VmRSS), of that anonymous | {} KiB | {} KiB, {} KiB | {} |",
            target::PID_1,
            resident.median,
            anonymous.median,
            verdict(resident.median, target::PID_1)
        )?,
        _ => missing(text, "PID 1 resident", &format!("{} KiB", target::PID_1), &no_run(&results.disk.hull))?,
    }
    let what = format!("a node with kv and the example in {SMALL_MEMORY} MB");
    match &results.small {
        Ok(start) => {
            let free = start.available.map_or_else(|| "unknown".into(), |kib| format!("{} MiB", kib >> 10));
            writeln!(text, "| {what} | runs | runs, {free} of it still available | met |")?;
        }
        Err(Missing(reason)) => missing(text, &what, "runs", reason)?,
    }
    time_target(text, "PID 1 → kv serving, from disk", target::STORE, &results.disk.hull, STORE)?;
    time_target(text, "PID 1 → container answering, from disk", target::EXAMPLE, &results.disk.hull, EXAMPLE)?;
    time_target(text, "PID 1 → kv serving, from memory", target::STORE, &results.memory.hull, STORE)?;
    time_target(text, "PID 1 → container answering, from memory", target::EXAMPLE, &results.memory.hull, EXAMPLE)?;
    container_target(text, "from memory", &results.memory.hull)?;
    container_target(text, "from disk", &results.disk.hull)?;
    swap_target(text, results)
}

/// A container's declaration is written until its program runs, beyond what a bare process takes.
fn container_target(text: &mut String, place: &str, runs: &Runs) -> std::fmt::Result {
    let what = format!("declaration → container's program, {place}, beyond a bare clone and exec");
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let limit = format!("{:.0} ms", milliseconds(target::CONTAINER));
    let spread = runs.spread(|start| Some(start.declared?.saturating_sub(start.bare?)));
    let bare = runs.spread(|start| start.bare);
    match (spread, bare) {
        (Some(spread), Some(bare)) => writeln!(
            text,
            "| {what} | {limit} | {:.2} ms ({:.2}–{:.2}), bare {:.2} ms | {} |",
            milliseconds(spread.median),
            milliseconds(spread.least),
            milliseconds(spread.most),
            milliseconds(bare.median),
            verdict(spread.median, target::CONTAINER)
        ),
        _ => missing(text, &what, &limit, &no_run(runs)),
    }
}

fn missing(text: &mut String, what: &str, limit: &str, reason: &str) -> std::fmt::Result {
    writeln!(text, "| {what} | {limit} | missing: {} | |", reason.replace('|', "/"))
}

fn no_run(runs: &Runs) -> String {
    runs.reasons().first().map_or_else(|| "it never came, in no run".into(), |reason| (*reason).to_owned())
}

fn time_target(text: &mut String, what: &str, limit: u64, runs: &Runs, distance: Distance) -> std::fmt::Result {
    let shown = format!("{:.2} s", limit as f64 / 1e9);
    match runs.spread(distance) {
        Some(spread) => {
            writeln!(text, "| {what} | {shown} | {} | {} |", seconds(spread), verdict(spread.median, limit))
        }
        None => missing(text, what, &shown, &no_run(runs)),
    }
}

/// The swap's limit: 1.5 times what the same kernel takes to PID 1, plus what the container takes behind the store.
fn swap_limit(disk: &Place) -> Option<u64> {
    let entry = *disk.entry.as_ref().ok()?;
    let boot = disk.hull.spread(|start| Some(start.pid_1 - entry))?.median;
    let container = disk.hull.spread(|start| Some(start.example? - start.store))?.median;
    Some(boot + boot / 2 + container)
}

fn swap_target(text: &mut String, results: &Results) -> std::fmt::Result {
    let what = "swap: old kv's last answer → new kv's first";
    let limit = swap_limit(&results.disk);
    let shown = limit.map_or_else(|| "unknown".into(), |limit| format!("{:.4} s", limit as f64 / 1e9));
    match (Spread::of(results.swaps.iter().flatten().map(gap)), limit) {
        (Some(spread), Some(limit)) => {
            writeln!(text, "| {what} | {shown} | {} | {} |", seconds(spread), verdict(spread.median, limit))
        }
        (Some(spread), None) => writeln!(text, "| {what} | {shown} | {} | |", seconds(spread)),
        (None, _) => {
            let reason = results.swaps.iter().find_map(|swap| swap.as_ref().err());
            missing(text, what, &shown, reason.map_or("no run", |Missing(reason)| reason.as_str()))
        }
    }
}

fn gap(swap: &Swap) -> u64 {
    swap.new.store - swap.last
}

fn seconds(spread: Spread) -> String {
    let of = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let runs =
        if spread.runs as u64 == runs() { String::new() } else { format!(", {} of {} runs", spread.runs, runs()) };
    format!("{:.4} s ({:.4}–{:.4}{runs})", of(spread.median), of(spread.least), of(spread.most))
}

fn place(text: &mut String, place: &Place) -> std::fmt::Result {
    let systems = [&place.hull, &place.busybox, &place.systemd];
    writeln!(text, "| | Hull | busybox init | systemd | Hull : busybox : systemd |\n|---|---|---|---|---|")?;
    let mut row = |name: &str, distance: &dyn Fn(&Start) -> Option<u64>| {
        let spreads = systems.map(|runs| runs.spread(distance));
        let cells = spreads.map(|spread| spread.map_or_else(|| "missing".into(), seconds));
        writeln!(text, "| {name} | {} | {} | {} | {} |", cells[0], cells[1], cells[2], ratios(spreads))
    };
    if let Ok(entry) = place.entry {
        row("kernel's first instruction → PID 1", &|start| Some(start.pid_1 - entry))?;
    }
    row("the kernel's own clock at PID 1", &|start| Some(start.pid_1 - start.clock))?;
    row("PID 1 → probe running", &|start| Some(start.probe - start.pid_1))?;
    row("PID 1 → store serving", &STORE)?;
    row("PID 1 → container answering", &EXAMPLE)?;
    if let Some(value) = place.hull.spread(|start| Some(start.value? - start.pid_1)) {
        writeln!(text, "| PID 1 → container shows the store's value | {} | — | — | |", seconds(value))?;
    }
    match &place.entry {
        Ok(entry) => writeln!(
            text,
            "\nThe firmware enters the kernel {:.4} s after the machine is switched on; that is in none of the numbers.",
            *entry as f64 / 1e9
        )?,
        Err(Missing(reason)) => writeln!(text, "\nWhen the firmware enters the kernel is missing: {reason}.")?,
    }
    for (name, runs) in [("Hull", &place.hull), ("busybox init", &place.busybox), ("systemd", &place.systemd)] {
        for reason in runs.reasons() {
            writeln!(text, "\nMissing runs of {name}: {reason}.")?;
        }
    }
    Ok(())
}

/// The medians, as multiples of Hull's.
fn ratios(spreads: [Option<Spread>; 3]) -> String {
    let Some(hull) = spreads[0].filter(|hull| hull.median > 0) else { return "—".into() };
    let times = spreads.map(|spread| {
        spread.map_or_else(|| "?".into(), |spread| format!("{:.1}", spread.median as f64 / hull.median as f64))
    });
    format!("1 : {} : {}", times[1], times[2])
}

fn fresh(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(
        text,
        "\nHull's very first start from the disk as built (the others have started before, so that the store's and the"
    )?;
    writeln!(text, "container's files are there):\n\n| | Hull, first start |\n|---|---|")?;
    for (name, distance) in [("PID 1 → store serving", STORE), ("PID 1 → container answering", EXAMPLE)] {
        let cell =
            results.fresh.spread(distance).map_or_else(|| format!("missing: {}", no_run(&results.fresh)), seconds);
        writeln!(text, "| {name} | {cell} |")?;
    }
    Ok(())
}

fn swaps(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(text, "\n## The swap\n\n{SWAP}\n")?;
    let of = |distance: Part| Spread::of(results.swaps.iter().flatten().map(distance));
    let rows: [(&str, Part); 5] = [
        ("asked for → the old store's last answer", |swap| swap.last.saturating_sub(swap.asked)),
        ("the old store's last answer → the new kernel's clock begins", |swap| {
            swap.new.clock.saturating_sub(swap.last)
        }),
        ("→ its PID 1", |swap| swap.new.pid_1 - swap.new.clock),
        ("→ the new store's first answer", |swap| swap.new.store - swap.new.pid_1),
        ("**without a store, in all**", gap),
    ];
    writeln!(text, "| part | guest time |\n|---|---|")?;
    for (name, distance) in rows {
        let cell = of(distance).map_or_else(|| "missing".into(), seconds);
        writeln!(text, "| {name} | {cell} |")?;
    }
    let mut reasons: Vec<_> = results.swaps.iter().filter_map(|swap| swap.as_ref().err()).collect();
    reasons.dedup();
    for Missing(reason) in reasons {
        writeln!(text, "\nMissing: {reason}.")?;
    }
    Ok(())
}

const FROM_MEMORY: &str = "\
The machine has a processor, {MEMORY} MiB of memory, a serial port and a watchdog, nothing else: everything comes in the initramfs, state is
in memory, and no time is spent on a disk. Waiting for a timer costs its time (`-icount shift=0,sleep=off`). Numbers repeat to four digits
from run to run but for where the kernel puts itself. The way to PID 1 differs because a whole Debian has to be unpacked; compare from PID 1 on.
";

const FROM_DISK: &str = "\
A virtio disk, a network card and {MEMORY} MiB. Hull goes through its initramfs, finds its slot and reads everything through dm-verity; the
others have the kernel mount ext4, with no initramfs. While the guest waits, its clock follows the host's (`-icount shift=0,sleep=on`): with
`sleep=off` each wait for the disk makes the clock jump to the next timer, which was seen to cost anything from 1 to 126 s. So what the
guest computes is exact here too, and what it waits for is as slow as the host's disk is. Every block of the verified root is hashed
with the processor's SHA instructions; an emulator that has none (QEMU 7.2) makes Hull's start from the disk take twice as long, and 0.07 s more
of a container's from memory: 0.29 s and 0.24 s were seen there.
";

const SWAP: &str = "\
A node that started before stages a second release from a folder of its host and swaps to it; the store is asked every millisecond before
and after, and the time-stamp counter goes on over the kexec. The target is 1.5 times what the same kernel takes from its first instruction
to PID 1 in the table above, plus what the container takes behind the store. Services stop one after the other, and the probe is the first of
them: the old store answers for some 20 ms more than the probe can see, so the numbers are too long by that.";

const METHOD: &str = "
## What each side does

The job: a store that answers a put and a range over etcd's JSON gateway, and a container made of the same static binary (the example's) that
answers HTTP. Store and container use the host's network in all three; the container starts when the store is ready.

- **Hull** runs the shipped images with the probe as one more service: kernel command line, DHCP, verified root, kv with its write-ahead log
  on the state partition, the launcher with a seccomp filter. The container also reads its value from the store, and that is measured too.
- **systemd** is PID 1 of a minimal Debian (debootstrap's minbase): its own journal, tmpfiles, sysusers and sysctl as Debian enables them; etcd by
  Debian's unit, notifying; crun by a unit behind it. Not there, in its favour: udev, D-Bus, network configuration, login prompts, timers,
  generated first-start work, seccomp in the container's configuration, status lines on the console (`quiet`).
- **busybox init** runs one script on the same root: mounts, loopback, etcd in the background, then crun as soon as etcd's port accepts, looked at
  every 10 ms.
- etcd does not know the example's own question (`GET /kv/...`), so there the container answers that it has no value. “Container answering” is
  the first HTTP answer of any status, in all three; only on Hull is there a row for the store's value.
- From memory, crun is told not to pivot the root, which cannot be done from an initramfs.

A probe, the same program everywhere and started as early as the system starts anything, asks every millisecond and reads the processor's
time-stamp counter; it prints when all is measured. When PID 1 started is what the kernel's log says. {RUNS} runs of each, one after the other in
turn, each with its own seed of random numbers, so that kernels lie at different addresses.
";
