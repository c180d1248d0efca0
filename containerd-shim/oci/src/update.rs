//! `update`: other limits for a running container.

use std::io::Read;

use hull_oci_core::oci::config::{BlockIo, Pids, Resources};
use hull_oci_core::oci::read;
use hull_runtime::Failure;
use hull_runtime::update;
use lexopt::{Arg, Parser};

use crate::options::{Global, folder, next, number, take_id, text, unexpected};

/// Changes limits. What is not named stays.
pub(crate) fn update(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut wanted) = (None, Resources::default());
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("resources") | Arg::Short('r') => wanted = from_file(&text(parser)?)?,
            Arg::Value(value) => take_id(&mut id, value)?,
            Arg::Long(name) => {
                let name = name.to_owned();
                option(&mut wanted, &name, parser)?;
            }
            other => return Err(unexpected(&other)),
        }
    }
    update::update(&folder(global, id)?, wanted)
}

fn from_file(file: &str) -> Result<Resources, Failure> {
    let mut bytes = Vec::new();
    let read_all = match file {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        file => std::fs::File::open(file).and_then(|mut open| open.read_to_end(&mut bytes)),
    };
    read_all.map_err(|error| Failure(format!("--resources: read {file}: {error}")))?;
    read::json(&bytes).map_err(|refused| Failure(format!("--resources {file}: {refused}")))
}

fn option(wanted: &mut Resources, name: &str, parser: &mut Parser) -> Result<(), Failure> {
    let memory = wanted.memory.get_or_insert_default();
    let cpu = wanted.cpu.get_or_insert_default();
    let option = format!("--{name}");
    match name {
        "memory" => memory.limit = Some(size(&option, &text(parser)?)?),
        "memory-reservation" => memory.reservation = Some(size(&option, &text(parser)?)?),
        "memory-swap" => memory.swap = Some(size(&option, &text(parser)?)?),
        "kernel-memory" => memory.kernel = Some(size(&option, &text(parser)?)?),
        "kernel-memory-tcp" => memory.kernel_tcp = Some(size(&option, &text(parser)?)?),
        "cpu-period" => cpu.period = Some(number(parser, &option)?),
        "cpu-quota" => cpu.quota = Some(number(parser, &option)?),
        "cpu-burst" => cpu.burst = Some(number(parser, &option)?),
        "cpu-share" | "cpu-shares" => cpu.shares = Some(number(parser, &option)?),
        "cpu-rt-period" => cpu.realtime_period = Some(number(parser, &option)?),
        "cpu-rt-runtime" => cpu.realtime_runtime = Some(number(parser, &option)?),
        "cpu-idle" => cpu.idle = Some(number(parser, &option)?),
        "cpuset-cpus" => cpu.cpus = Some(text(parser)?),
        "cpuset-mems" => cpu.mems = Some(text(parser)?),
        "pids-limit" => wanted.pids = Some(Pids { limit: Some(number(parser, &option)?) }),
        "blkio-weight" => {
            wanted.block_io = Some(BlockIo { weight: Some(number(parser, &option)?), ..BlockIo::default() })
        }
        other => return Err(Failure(format!("option --{other} is not known here"))),
    }
    Ok(())
}

/// Bytes, `64M`, or -1.
fn size(option: &str, text: &str) -> Result<i64, Failure> {
    let refused = || Failure(format!("{option}: {text:?} is not a size such as 64M, or -1"));
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().trim_end_matches(['b', 'i']) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refused()),
    };
    let number: i64 = digits.parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= -1).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("-1", -1), ("1048576", 1 << 20), ("64M", 64 << 20), ("2g", 2 << 30), ("1KiB", 1024)] {
            assert_eq!(size("--memory", text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "M", "-2", "1x", "9999999999T"] {
            assert!(size("--memory", bad).is_err(), "{bad}");
        }
    }
}
