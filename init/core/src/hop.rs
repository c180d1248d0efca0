//! The command line of a kexec: what the running kernel got, less what belongs to one boot only, plus what the next one must know.

use std::fmt;

use crate::slots::SlotName;

/// Bytes that a bzImage accepts: `cmdline_size` of the boot protocol, COMMAND_LINE_SIZE less the final zero.
pub const MAX_BYTES: usize = 2047;

/// Keys that say something about one boot only.
const ONE_BOOT: [&str; 3] = ["hull.boot.trial", "hull.boot.hops", "hull.boot.failed"];

/// What the next kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The slot that is on trial there.
    pub trial: Option<SlotName>,
    /// Kexecs since the firmware or the operator started something, this one included.
    pub hops: u8,
    /// The slot that could not be opened, which is why this is a way out.
    pub failed: Option<SlotName>,
}

/// The command line does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What it would have.
    pub bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, but a kernel takes {MAX_BYTES}; shorten the kernel command line", self.bytes)
    }
}

impl std::error::Error for TooLong {}

/// Builds the next command line. `current` is /proc/cmdline; `bootconfig` is /proc/bootconfig, whose `kernel.` keys the kernel added by
/// itself, and the next one will add its own. Of identical tokens the last one stays, because of several values the last one applies.
///
/// # Errors
/// The result is longer than a kernel accepts.
pub fn command_line(current: &str, bootconfig: &str, hop: &Hop) -> Result<String, TooLong> {
    let built_in: Vec<String> = bootconfig.lines().filter_map(built_in_token).collect();
    let tokens: Vec<&str> = tokens(current).collect();
    let mut kept: Vec<&str> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let key = token.split('=').next().unwrap_or(token);
        let repeated = tokens[index + 1..].contains(token);
        let added = built_in.contains(&token.replace('"', ""));
        if !repeated && !added && !ONE_BOOT.contains(&key) {
            kept.push(token);
        }
    }
    let mut line = kept.join(" ");
    let mut add = |token: String| {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&token);
    };
    if let Some(slot) = hop.trial {
        add(format!("hull.boot.trial={slot}"));
    }
    add(format!("hull.boot.hops={}", hop.hops));
    if let Some(slot) = hop.failed {
        add(format!("hull.boot.failed={slot}"));
    }
    if line.len() > MAX_BYTES { Err(TooLong { bytes: line.len() }) } else { Ok(line) }
}

/// Splits at blanks outside of double quotes, as the kernel's `next_arg` does; quotes stay.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |character: char| {
        quoted ^= character == '"';
        !quoted && character.is_whitespace()
    })
    .filter(|token| !token.is_empty())
}

/// A line of /proc/bootconfig, `kernel.panic = "10"`, as the token that the kernel makes of it, without quotes.
fn built_in_token(line: &str) -> Option<String> {
    let (key, value) = line.strip_prefix("kernel.")?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim().replace('"', ""));
    Some(if value.is_empty() { key.to_owned() } else { format!("{key}={value}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Hop = Hop { trial: None, hops: 1, failed: None };

    #[test]
    fn a_trial_is_named_and_an_old_one_forgotten() {
        let hop = Hop { trial: Some(SlotName::B), hops: 1, failed: None };
        let line = command_line("console=ttyS0 hull.boot.trial=a hull.boot.hops=1 hull.boot.failed=b quiet", "", &hop);
        assert_eq!(line.unwrap(), "console=ttyS0 quiet hull.boot.trial=b hull.boot.hops=1");
        assert_eq!(command_line("", "", &PLAIN).unwrap(), "hull.boot.hops=1");
    }

    #[test]
    fn the_slot_that_failed_is_named() {
        let hop = Hop { failed: Some(SlotName::A), ..PLAIN };
        assert_eq!(command_line("x", "", &hop).unwrap(), "x hull.boot.hops=1 hull.boot.failed=a");
    }

    #[test]
    fn hopping_again_and_again_does_not_make_it_longer() {
        let config = "kernel.panic = \"10\"\nkernel.lockdown = \"integrity\"\nkernel.quiet = \"\"\ninit.x = 1\n";
        let boot = "a=1 b=\"two words\" a=2 a=1";
        let shown = |passed: &str| format!("panic=\"10\" lockdown=\"integrity\" quiet {passed}");
        let first = command_line(&shown(boot), config, &PLAIN).unwrap();
        assert_eq!(first, "b=\"two words\" a=2 a=1 hull.boot.hops=1");
        let second = command_line(&shown(&first), config, &PLAIN).unwrap();
        assert_eq!(second, first);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_length() {
        let room = MAX_BYTES - " hull.boot.hops=1".len();
        assert!(command_line(&"x".repeat(room), "", &PLAIN).is_ok());
        assert_eq!(command_line(&"x".repeat(room + 1), "", &PLAIN), Err(TooLong { bytes: MAX_BYTES + 1 }));
    }
}
