//! `make bench`: measures the images that bench.sh built and writes docs/benchmarks.md.

use hull_qemu_tests::bench::{self, Paths};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "hull-bench SHIPPED MEASURED RELEASE PROBE CACHE DOCUMENT";

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Ok([shipped, measured, release, probe, cache, document]) = <[PathBuf; 6]>::try_from(arguments) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::FAILURE;
    };
    bench::run(&Paths { shipped, measured, release, probe, cache, document })
}
