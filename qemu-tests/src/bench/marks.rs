//! What the probe printed, as numbers: one start, two starts around a swap, and the middle of several.

use std::collections::BTreeMap;

/// Why something could not be measured. It goes into the document as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

impl Missing {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Moments of one start, in nanoseconds of guest time since the machine was switched on; sizes in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The clock of the kernel's log begins.
    pub(super) clock: u64,
    /// The kernel ran PID 1.
    pub(super) pid_1: u64,
    /// The probe ran.
    pub(super) probe: u64,
    /// The store answered a put and a range.
    pub(super) store: u64,
    /// The example's container answered; nothing when it never did.
    pub(super) example: Option<u64>,
    /// The example showed what the store holds.
    pub(super) value: Option<u64>,
    /// From before a bare process was asked for until it ran, nanoseconds.
    pub(super) bare: Option<u64>,
    /// From before a container's declaration was sent until its program was executed, nanoseconds.
    pub(super) declared: Option<u64>,
    /// Resident memory of PID 1 with everything running, KiB.
    pub(super) pid_1_resident: Option<u64>,
    /// The part of it that no other process can share, KiB.
    pub(super) pid_1_anonymous: Option<u64>,
    /// Memory that the kernel counts as available with everything running, KiB.
    pub(super) available: Option<u64>,
}

/// A swap, in nanoseconds of guest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Swap {
    /// `hullctl update swap` was started.
    pub(super) asked: u64,
    /// The old store's last answer.
    pub(super) last: u64,
    /// The new release's start.
    pub(super) new: Start,
}

/// Lines `hull-bench NAME VALUE`, in order.
fn lines(console: &str) -> impl Iterator<Item = (&str, &str)> {
    console.lines().filter_map(|line| line.trim_end().strip_prefix("hull-bench ")?.split_once(' '))
}

/// What the probe says when it can do no more, with the reason it gives.
pub(super) fn failure(console: &str) -> Option<Missing> {
    lines(console)
        .find(|(name, _)| *name == "failed")
        .map(|(_, reason)| Missing::new(format!("the probe in the machine says: {reason}")))
}

/// Whether the probe has said everything.
pub(super) fn ended(console: &str) -> bool {
    lines(console).any(|(name, _)| name == "end")
}

/// The values of each start on this console: a line `begin` opens one.
fn starts(console: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut starts: Vec<BTreeMap<&str, &str>> = Vec::new();
    for (name, value) in lines(console) {
        if name == "begin" {
            starts.push(BTreeMap::new());
        }
        if let Some(start) = starts.last_mut() {
            start.insert(name, value);
        }
    }
    starts
}

fn number(values: &BTreeMap<&str, &str>, name: &str) -> Result<u64, Missing> {
    let text = values.get(name).ok_or_else(|| Missing::new(format!("the probe did not print {name:?}")))?;
    text.parse().map_err(|_| Missing::new(format!("the probe printed {name} {text:?}, which is no number")))
}

fn start(values: &BTreeMap<&str, &str>) -> Result<Start, Missing> {
    let optional = |name| number(values, name).ok();
    Ok(Start {
        clock: number(values, "clock")?,
        pid_1: number(values, "pid1")?,
        probe: number(values, "probe")?,
        store: number(values, "store")?,
        example: optional("example"),
        value: optional("value"),
        bare: optional("bare-start"),
        declared: optional("container-start"),
        pid_1_resident: optional("pid1-resident"),
        pid_1_anonymous: optional("pid1-anonymous"),
        available: optional("memory-available"),
    })
}

/// The one start on this console.
pub(super) fn one_start(console: &str) -> Result<Start, Missing> {
    let starts = starts(console);
    start(starts.first().ok_or_else(|| Missing::new("the probe printed nothing"))?)
}

/// The swap on this console: a first start, the old store's last answer, then the trial's start.
pub(super) fn swap(console: &str) -> Result<Swap, Missing> {
    let starts = starts(console);
    let [old, new] = starts.as_slice() else {
        return Err(Missing::new(format!("{} systems told of their start; a swap has two", starts.len())));
    };
    if new.get("begin") != Some(&"trial") {
        return Err(Missing::new("the machine came back on the old release"));
    }
    Ok(Swap { asked: number(old, "asked")?, last: number(old, "last")?, new: start(new)? })
}

/// The middle of several runs, and how far they are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) median: u64,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) runs: usize,
}

impl Spread {
    /// Of at least one value.
    pub(super) fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        Some(Self {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
            runs: values.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\nhull-bench begin first\nhull-bench clock 5\r\nhull-bench pid1 10\n[  0.3] noise\nhull-bench probe 11\n\
                       hull-bench store 20\nhull-bench example 30\nhull-bench asked 35\nhull-bench last 40\n";
    const NEW: &str = "hull-bench begin trial\nhull-bench clock 50\nhull-bench pid1 60\nhull-bench probe 61\nhull-bench store 70\n\
                       hull-bench example 80\nhull-bench end measured\n";

    #[test]
    fn a_swap_is_two_starts_and_the_answer_between_them() {
        let swap = swap(&format!("{OLD}kexec\n{NEW}")).unwrap();
        assert_eq!((swap.last, swap.new.store), (40, 70));
    }

    #[test]
    fn a_way_back_to_the_old_release_is_no_swap() {
        let back = format!("{OLD}{}", NEW.replace("trial", "first"));
        assert_eq!(swap(&back), Err(Missing::new("the machine came back on the old release")));
    }

    #[test]
    fn a_moment_that_was_not_printed_is_missing_by_name() {
        let Missing(reason) = one_start(&OLD.replace("store", "stole")).unwrap_err();
        assert!(reason.contains("\"store\""), "{reason}");
    }

    #[test]
    fn the_median_of_five_is_the_third() {
        let spread = Spread::of([5, 1, 4, 2, 3]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most, spread.runs), (3, 1, 5, 5));
    }
}
