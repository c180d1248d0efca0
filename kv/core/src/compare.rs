//! The conditions of a transaction.
use std::cmp::Ordering;

use hull_kv_proto::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

use crate::{keyrange::KeyRange, record::Record, store::Store};

impl Store {
    /// Whether every condition holds at the current revision.
    pub(crate) fn holds(&self, conditions: &[Compare]) -> bool {
        conditions.iter().all(|condition| self.condition_holds(condition))
    }

    /// Every key of the condition's range must satisfy it. No key at all counts as one with version, revisions and
    /// lease 0, but never satisfies a condition on the value, since the API cannot tell a missing value from an empty one.
    fn condition_holds(&self, condition: &Compare) -> bool {
        let range = KeyRange::new(&condition.key, &condition.range_end);
        let mut found = self.index.range(&range, self.revision).filter_map(|(_, rev)| self.history.get(rev)).peekable();
        if found.peek().is_none() {
            return condition.target() != CompareTarget::Value && satisfied(condition, None);
        }
        found.all(|record| satisfied(condition, Some(record)))
    }
}

fn satisfied(condition: &Compare, record: Option<&Record>) -> bool {
    let union = condition.target_union.as_ref();
    let number =
        |actual: fn(&Record) -> i64, expected: Option<i64>| record.map_or(0, actual).cmp(&expected.unwrap_or(0));
    let ordering = match condition.target() {
        CompareTarget::Value => {
            let expected: &[u8] = match union {
                Some(TargetUnion::Value(value)) => value,
                _ => &[],
            };
            record.map_or(&[][..], |r| &r.value).cmp(expected)
        }
        CompareTarget::Create => number(
            |r| r.create,
            union.and_then(|u| if let TargetUnion::CreateRevision(n) = u { Some(*n) } else { None }),
        ),
        CompareTarget::Mod => number(
            |r| r.rev.main,
            union.and_then(|u| if let TargetUnion::ModRevision(n) = u { Some(*n) } else { None }),
        ),
        CompareTarget::Version => {
            number(|r| r.version, union.and_then(|u| if let TargetUnion::Version(n) = u { Some(*n) } else { None }))
        }
        CompareTarget::Lease => {
            number(|r| r.lease, union.and_then(|u| if let TargetUnion::Lease(n) = u { Some(*n) } else { None }))
        }
    };
    match condition.result() {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}
