//! Flags of how much history the store keeps.
use std::time::Duration;

use super::{ConfigError, Setting};
use crate::compactor::Retention;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        flag: "auto-compaction-mode",
        variable: "ETCD_AUTO_COMPACTION_MODE",
        default: "periodic",
        help: "what --auto-compaction-retention counts: periodic (time) or revision",
    },
    Setting {
        flag: "auto-compaction-retention",
        variable: "ETCD_AUTO_COMPACTION_RETENTION",
        default: "0",
        help: "history to keep: hours or a time such as 30m, or revisions; 0: all of it",
    },
];

/// How much history is kept.
pub(super) fn retention(get: impl Fn(&str) -> String) -> Result<Retention, ConfigError> {
    let (mode, kept) = (get("auto-compaction-mode"), get("auto-compaction-retention"));
    let wrong = |wanted: &str| ConfigError(format!("--auto-compaction-retention {kept}: {wanted} was expected"));
    match mode.as_str() {
        _ if kept == "0" => Ok(Retention::Everything),
        "revision" => {
            let revisions = kept.parse().ok().filter(|kept| *kept > 0);
            revisions.map(Retention::Revisions).ok_or_else(|| wrong("a number of revisions"))
        }
        "periodic" => duration(&kept).map(Retention::Time).ok_or_else(|| wrong("hours, or a time such as 1h30m,")),
        _ => Err(ConfigError(format!("--auto-compaction-mode {mode}: periodic or revision was expected"))),
    }
}

/// Hours, or Go's notation of a time: numbers with h, m, s or ms.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Ok(hours) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(hours) * 3600));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => Duration::from_secs(3600),
                "m" => Duration::from_secs(60),
                "s" => Duration::from_secs(1),
                "ms" => Duration::from_millis(1),
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (total > Duration::ZERO).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_etcd_reads_them() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!((seconds("5"), seconds("1h30m"), seconds("90s")), (Some(18_000), Some(5_400), Some(90)));
        assert_eq!((seconds("x"), seconds("5x"), seconds("h")), (None, None, None));
    }
}
