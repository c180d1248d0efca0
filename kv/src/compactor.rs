//! Compaction by itself: keeps the history of some hours, or of some revisions, as `--auto-compaction-mode` says.
use std::{collections::VecDeque, time::Duration};

/// How often the mode `revision` looks. etcd's `revInterval`.
const REVISION_STEP: Duration = Duration::from_secs(300);

/// The mode `periodic` compacts this often at least (etcd's), however much it keeps.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// Looks a period: the history kept is up to a tenth of a period longer than asked for. etcd's `getRetryInterval`.
const STEPS: u32 = 10;

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of it.
    Everything,
    /// What is younger.
    Time(Duration),
    /// The newest so many revisions.
    Revisions(i64),
}

/// Decides when to compact at which revision; time comes in as an argument.
#[derive(Debug)]
pub struct Compactor {
    retention: Retention,
    /// When which revision was current, oldest first.
    seen: VecDeque<(Duration, i64)>,
    last: Option<Duration>,
}

impl Compactor {
    /// `None` if nothing is ever compacted.
    pub fn new(retention: Retention) -> Option<Self> {
        (retention != Retention::Everything).then(|| Self { retention, seen: VecDeque::new(), last: None })
    }

    fn period(&self) -> Duration {
        match self.retention {
            Retention::Time(kept) => kept.min(LONGEST_PERIOD),
            Retention::Revisions(_) | Retention::Everything => REVISION_STEP,
        }
    }

    /// How often to ask.
    pub fn step(&self) -> Duration {
        match self.retention {
            Retention::Time(_) => (self.period() / STEPS).max(Duration::from_millis(100)),
            Retention::Revisions(_) | Retention::Everything => REVISION_STEP,
        }
    }

    /// The revision to compact at now, if any. `now` is the time since some start, `current` the current revision.
    pub fn due(&mut self, now: Duration, current: i64) -> Option<i64> {
        match self.retention {
            Retention::Everything => None,
            Retention::Revisions(kept) => Some(current - kept).filter(|revision| *revision > 0),
            Retention::Time(kept) => {
                self.seen.push_back((now, current));
                let old = |seen: &(Duration, i64)| now.saturating_sub(seen.0) >= kept;
                // Of those that are old enough, the newest is what matters.
                while self.seen.get(1).is_some_and(old) {
                    self.seen.pop_front();
                }
                let (_, revision) = *self.seen.front().filter(|first| old(first))?;
                if self.last.is_some_and(|last| now.saturating_sub(last) < self.period()) {
                    return None;
                }
                self.last = Some(now);
                Some(revision)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_younger_than_asked_for_is_kept() {
        let mut compactor = Compactor::new(Retention::Time(10 * MINUTE)).expect("on");
        assert_eq!(compactor.step(), MINUTE);
        for minute in 0..10 {
            assert_eq!(compactor.due(minute * MINUTE, 100 + i64::from(minute)), None);
        }
        assert_eq!(compactor.due(10 * MINUTE, 110), Some(100));
        for minute in 11..20 {
            assert_eq!(compactor.due(minute * MINUTE, 100 + i64::from(minute)), None, "once a period");
        }
        assert_eq!(compactor.due(20 * MINUTE, 120), Some(110));
    }

    #[test]
    fn as_many_revisions_as_asked_for_are_kept() {
        let mut compactor = Compactor::new(Retention::Revisions(1000)).expect("on");
        assert_eq!(compactor.due(Duration::ZERO, 1000), None);
        assert_eq!(compactor.due(REVISION_STEP, 1500), Some(500));
    }
}
