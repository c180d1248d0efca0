//! Runs seeds for a given time, or one seed again.
use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hull_kv_sim::World;

const HELP: &str = "hull-kv-sim [--seed N] [--seconds N]\n\n\
    Simulates clusters, one after the other, for so many seconds (default 60); with a seed, that one only.";

struct Asked {
    seed: Option<u64>,
    seconds: u64,
}

fn asked() -> Result<Option<Asked>, lexopt::Error> {
    let mut asked = Asked { seed: None, seconds: 60 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("seed") => {
                asked.seed = Some(parser.value()?.to_string_lossy().parse().map_err(|_| "a number was expected")?)
            }
            lexopt::Arg::Long("seconds") => {
                asked.seconds = parser.value()?.to_string_lossy().parse().map_err(|_| "a number was expected")?
            }
            lexopt::Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(asked))
}

/// Runs one seed; answers whether every invariant held.
fn run(seed: u64) -> bool {
    match World::new(seed).run() {
        Ok(report) => {
            println!("seed {seed}: {report}");
            true
        }
        Err(violation) => {
            println!("seed {seed}: VIOLATED {violation}\nagain: hull-kv-sim --seed {seed}");
            false
        }
    }
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("hull-kv-sim: {error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = asked.seed {
        return if run(seed) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let end = Instant::now() + Duration::from_secs(asked.seconds);
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() * 1_000_000);
    let mut seed = first;
    while Instant::now() < end {
        if !run(seed) {
            return ExitCode::FAILURE;
        }
        seed += 1;
    }
    println!("{} seeds, every invariant held", seed - first);
    ExitCode::SUCCESS
}
