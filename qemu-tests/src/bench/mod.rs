//! `make bench`: how many instructions Hull needs until it serves, beside systemd and busybox init on the same kernel.
//!
//! Every machine is emulated with one instruction a nanosecond, so the numbers do not depend on how fast or how busy the host
//! is. Whatever cannot be measured is written as missing, with the reason.

mod comparison;
mod firmware;
mod host;
mod hull;
mod limits;
mod machine;
mod marks;
mod report;

use comparison::{Debian, Init, Root};
use host::Host;
use hull::Hull;
use limits::{MEMORY, MEMORY_FOR_ALL, runs};
use machine::{Machine, Waiting};
use marks::{Missing, Start, Swap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where everything is.
#[derive(Debug)]
pub struct Paths {
    /// The images as shipped.
    pub shipped: PathBuf,
    /// The images with the probe.
    pub measured: PathBuf,
    /// The second release, with the probe too.
    pub release: PathBuf,
    /// The probe.
    pub probe: PathBuf,
    /// Where the compared systems are kept from run to run.
    pub cache: PathBuf,
    /// The document to write.
    pub document: PathBuf,
}

/// What came of several starts of one system.
#[derive(Debug, Default)]
struct Runs(Vec<Result<Start, Missing>>);

/// Everything measured.
#[derive(Debug)]
struct Results {
    host: Host,
    sizes: Vec<host::Size>,
    packages: Result<String, Missing>,
    memory: Place,
    disk: Place,
    /// Hull on the disk as built, where the first start has more to do.
    fresh: Runs,
    small: Result<Start, Missing>,
    swaps: Vec<Result<Swap, Missing>>,
}

/// The three systems, started from the same kind of place.
#[derive(Debug)]
struct Place {
    /// Nanoseconds until the firmware enters the kernel.
    entry: Result<u64, Missing>,
    hull: Runs,
    busybox: Runs,
    systemd: Runs,
}

impl Place {
    fn new(entry: Result<u64, Missing>) -> Self {
        Self { entry, hull: Runs::default(), busybox: Runs::default(), systemd: Runs::default() }
    }
}

/// Measures and writes the document. Fails only when the document cannot be written.
pub fn run(paths: &Paths) -> ExitCode {
    let results = measure(paths);
    let text = report::document(&results, &paths.secrets());
    match comparison::io("write", &paths.document, std::fs::write(&paths.document, text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Missing(reason)) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

impl Paths {
    /// Places of this machine, which the document must not tell.
    fn secrets(&self) -> Vec<String> {
        let paths = [&self.shipped, &self.measured, &self.release, &self.cache];
        let mut paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        paths.push(std::env::temp_dir().display().to_string());
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        paths
    }
}

fn measure(paths: &Paths) -> Results {
    let kernel = paths.shipped.join("kernel/virt/bzImage");
    let hull = Hull::new(&paths.measured, &paths.release);
    let from_memory = Machine::new(&kernel, "", MEMORY_FOR_ALL);
    let from_disk = Machine::new(&kernel, "", MEMORY);
    eprintln!("==> bench: the systems compared");
    let debian = Debian::prepare(&paths.cache, &kernel, &paths.shipped.join("bin/hull-hello"), &paths.probe);
    let settled = paths.measured.join("settled.img");
    let settling = hull.settle(&settled, &from_disk);
    let mut memory = Place::new(firmware::kernel_entry(&paths.measured, &from_memory));
    let mut disk = Place::new(firmware::kernel_entry(
        &paths.measured,
        &Machine { waiting: Waiting::Passes, ..hull.on_disk(&settled, &from_disk) },
    ));
    let mut fresh = Runs::default();
    let mut swaps = Vec::new();
    for seed in 1..=runs() {
        eprintln!("==> bench: run {seed} of {}", runs());
        let (from_memory, from_disk) = (Machine { seed, ..from_memory.clone() }, Machine { seed, ..from_disk.clone() });
        memory.hull.add("hull from memory", seed, Ok(hull.in_memory(&from_memory)));
        let compared = |init, root, like: &Machine| {
            debian.as_ref().map(|debian| debian.machine(init, root, like)).map_err(Clone::clone)
        };
        memory.busybox.add("busybox from memory", seed, compared(Init::Busybox, Root::InMemory, &from_memory));
        memory.systemd.add("systemd from memory", seed, compared(Init::Systemd, Root::InMemory, &from_memory));
        let on_settled = settling.clone().map(|()| hull.on_disk(&settled, &from_disk));
        disk.hull.add("hull from disk", seed, on_settled);
        disk.busybox.add("busybox from disk", seed, compared(Init::Busybox, Root::OnDisk, &from_disk));
        disk.systemd.add("systemd from disk", seed, compared(Init::Systemd, Root::OnDisk, &from_disk));
        fresh.add("hull, first start", seed, Ok(hull.on_disk(&hull.fresh_disk(), &from_disk)));
        swaps.push(swap(&hull, &settled, seed, &settling, &from_disk));
    }
    Results {
        host: Host::find(&kernel),
        sizes: host::sizes(&paths.shipped),
        packages: debian.map(|debian| debian.packages),
        memory,
        disk,
        fresh,
        small: hull.small(&from_disk),
        swaps,
    }
}

fn swap(hull: &Hull, disk: &Path, seed: u64, settling: &Result<(), Missing>, like: &Machine) -> Result<Swap, Missing> {
    settling.clone()?;
    let swap = hull.swap(disk, like);
    match &swap {
        Ok(swap) => {
            eprintln!("    {seed} swap: {:.4} s without a store", (swap.new.store - swap.last) as f64 / 1e9)
        }
        Err(Missing(reason)) => eprintln!("    {seed} swap: {reason}"),
    }
    swap
}

impl Runs {
    /// Starts a machine and keeps what came of it.
    fn add(&mut self, name: &str, seed: u64, machine: Result<Machine, Missing>) {
        let start = machine.and_then(|machine| marks::one_start(&machine.console()?));
        match &start {
            Ok(start) => {
                let example = start.example.map_or_else(|| "never".into(), |example| shown(example - start.pid_1));
                eprintln!(
                    "    {seed} {name}: after PID 1: store {}, container {example}",
                    shown(start.store - start.pid_1)
                );
            }
            Err(Missing(reason)) => eprintln!("    {seed} {name}: {reason}"),
        }
        self.0.push(start);
    }
}

/// Guest time for people.
fn shown(nanoseconds: u64) -> String {
    format!("{:.4} s", nanoseconds as f64 / 1e9)
}
