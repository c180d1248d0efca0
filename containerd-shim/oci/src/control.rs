//! What changes the life of a container: start, kill, pause, resume, delete.

use hull_runtime::Failure;
use hull_runtime::cgroup::Freezing;
use hull_runtime::life::{self, Force, Whom};
use hull_runtime::state::{Folder, Status};
use lexopt::{Arg, Parser};
use regex_lite::Regex;

use crate::log;
use crate::options::{Flag, Global, flag, folder, next, number, only_id, string, unexpected};

/// Lets a created container execute its program.
pub(crate) fn start(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let warnings = life::start(&only_id(global, parser)?)?;
    warnings.iter().for_each(|failure| log::warning(global, &failure.0));
    Ok(())
}

/// Sends a signal.
pub(crate) fn kill(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut wanted, mut whom) = (None, None, Whom::First);
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("all") | Arg::Short('a') => {
                if flag(parser) == Flag::Set {
                    whom = Whom::All;
                }
            }
            // The signal as an option, `-9` and `-KILL`'s kin aside.
            Arg::Long("signal") | Arg::Short('s') => wanted = Some(number::<String>(parser, "--signal")?),
            Arg::Value(value) if id.is_none() => id = Some(string(value)?),
            Arg::Value(value) if wanted.is_none() => wanted = Some(string(value)?),
            other => return Err(unexpected(&other)),
        }
    }
    let number = signal(wanted.as_deref().unwrap_or("SIGTERM"))?;
    life::kill(&folder(global, id)?, number, whom)
}

/// Signals by number from 1 (signal(7)).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Real-time signals as the C library counts them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal, by its name with or without `SIG`, or by its number.
fn signal(text: &str) -> Result<i32, Failure> {
    let unknown =
        || Failure(format!("unknown signal {text:?}: a name such as SIGTERM or RTMIN+3, or a number up to 64"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(place) = SIGNALS.iter().position(|known| *known == name) {
        return Ok(place as i32 + 1);
    }
    let offset = |text: &str, sign: char| text.strip_prefix(sign).and_then(|digits| digits.parse::<i32>().ok());
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(RTMIN),
        (_, Some("")) => Some(RTMAX),
        (Some(rest), _) => offset(rest, '+').map(|offset| RTMIN + offset),
        (_, Some(rest)) => offset(rest, '-').map(|offset| RTMAX - offset),
        _ => None,
    };
    number.filter(|number| (RTMIN..=RTMAX).contains(number)).ok_or_else(unknown)
}

/// Stops every process.
pub(crate) fn pause(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let folder = only_id(global, parser)?;
    let record = folder.record()?;
    match record.status(&folder) {
        Status::Running | Status::Created => record.groups().freeze(Freezing::Frozen),
        status => Err(Failure(format!("cannot pause container {:?}: it is {}, not running", folder.id, status.name()))),
    }
}

/// Continues every process.
pub(crate) fn resume(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let folder = only_id(global, parser)?;
    let record = folder.record()?;
    match record.status(&folder) {
        Status::Paused => record.groups().freeze(Freezing::Thawed),
        status => Err(Failure(format!("cannot resume container {:?}: it is {}, not paused", folder.id, status.name()))),
    }
}

/// Deletes a container.
pub(crate) fn delete(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut force, mut names) = (None, Force::No, Names::Literal);
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("force") | Arg::Short('f') => {
                if flag(parser) == Flag::Set {
                    force = Force::Yes;
                }
            }
            Arg::Long("regex") | Arg::Short('r') => {
                if flag(parser) == Flag::Set {
                    names = Names::Pattern;
                }
            }
            Arg::Value(value) => crate::options::take_id(&mut id, value)?,
            other => return Err(unexpected(&other)),
        }
    }
    match names {
        Names::Literal => delete_one(global, &folder(global, id)?, force),
        Names::Pattern => {
            let pattern = id.ok_or_else(|| Failure("the pattern is missing".to_owned()))?;
            let known = Regex::new(&pattern).map_err(|error| Failure(format!("--regex {pattern:?}: {error}")))?;
            let ids = hull_runtime::state::all(&global.root)?;
            ids.into_iter()
                .filter(|id| known.is_match(id))
                .try_for_each(|id| delete_one(global, &folder(global, Some(id))?, force))
        }
    }
}

/// How containers are named.
enum Names {
    /// By an id.
    Literal,
    /// By a regular expression.
    Pattern,
}

fn delete_one(global: &Global, folder: &Folder, force: Force) -> Result<(), Failure> {
    match (folder.record(), force) {
        // What was half made by a runtime that was killed goes, too; what is not there is gone.
        (Err(_), Force::Yes) => return life::discard(folder),
        (Err(_), Force::No) if !folder.path.join("state.json").exists() => return life::reclaim(folder),
        _ => {}
    }
    life::delete(folder, force)?.iter().for_each(|failure| log::warning(global, &failure.0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("TERM", 15), ("SIGKILL", 9), ("sigusr1", 10), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("SYS", 31)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "65", "SIGNAL", "RTMIN+31", "-1"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
