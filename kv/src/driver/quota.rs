//! Room in memory: the data lives there, so a store that grew without a limit would be killed for it, and again at every start.
//!
//! As etcd's `quota-backend-bytes`: a command that would not fit is refused, the NOSPACE alarm goes up, reads, deletes and compactions
//! go on; whoever has made room lowers the alarm (`etcdctl alarm disarm`).
use hull_kv_core::takes_space;
use hull_kv_proto::hullpb::command::Op;
use prost::encoding::encoded_len_varint;

/// Bytes of data that the store may hold, and what is on its way there.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u64,
    /// Bytes in the store, once somebody has looked in this turn.
    used: Option<u64>,
    /// Proposed since the last entries were applied.
    underway: u64,
    alarm: Alarm,
}

/// Whether the alarm must be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    Quiet,
    Due,
}

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: None, underway: 0, alarm: Alarm::Quiet }
    }

    /// Whether a command must be refused. `used` looks how many bytes are in the store.
    pub(super) fn refuses(&mut self, op: &Op, used: impl FnOnce() -> u64) -> bool {
        if self.limit == u64::MAX || !takes_space(op) {
            return false;
        }
        let cost = cost(op);
        let used = *self.used.get_or_insert_with(used);
        let fits = used.saturating_add(self.underway).saturating_add(cost) <= self.limit;
        if fits {
            self.underway += cost;
        } else {
            self.alarm = Alarm::Due;
        }
        !fits
    }

    /// What was on its way has arrived, or never will.
    pub(super) fn applied(&mut self) {
        self.underway = 0;
        self.used = None;
    }

    /// A turn ends: compaction may take bytes out of the store before the next.
    pub(super) fn end_turn(&mut self) {
        self.used = None;
    }

    /// Whether the alarm must be raised now; true once for each time that something was refused.
    pub(super) fn take_alarm(&mut self) -> bool {
        std::mem::replace(&mut self.alarm, Alarm::Quiet) == Alarm::Due
    }
}

/// Bytes of a command, about what it takes in the store.
fn cost(op: &Op) -> u64 {
    let bytes = op.encoded_len();
    (bytes + encoded_len_varint(bytes as u64)) as u64
}

#[cfg(test)]
mod tests {
    use hull_kv_proto::etcdserverpb::{DeleteRangeRequest, PutRequest};

    use super::*;

    fn put(bytes: usize) -> Op {
        Op::Put(PutRequest { key: "k".into(), value: vec![0; bytes].into(), ..PutRequest::default() })
    }

    #[test]
    fn what_is_underway_counts_until_it_has_arrived() {
        let mut quota = Quota::new(10_000);
        assert!(!quota.refuses(&put(4_000), || 0));
        assert!(!quota.refuses(&put(4_000), || 0));
        assert!(quota.refuses(&put(4_000), || 0), "8,000 are on their way");
        assert!(quota.take_alarm() && !quota.take_alarm(), "one alarm");
        quota.applied();
        assert!(quota.refuses(&put(4_000), || 8_000));
        assert!(!quota.refuses(&Op::DeleteRange(DeleteRangeRequest::default()), || 8_000), "a delete makes room");
        assert!(!quota.refuses(&put(1_000), || 8_000), "what fits is taken");
        assert!(!quota.refuses(&put(500), || panic!("looked once in a turn")));
        quota.end_turn();
        assert!(quota.refuses(&put(1_000), || 10_000));
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        assert!(!Quota::new(u64::MAX).refuses(&put(1_000_000), || u64::MAX));
    }
}
