//! The conditions of a transaction.
use std::cmp::Ordering;

use hull_kv_proto::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

use crate::{
    keyrange::KeyRange,
    record::Record,
    store::Store,
    value::{Unreadable, Values},
};

impl Store {
    /// Whether every condition holds at the current revision.
    ///
    /// # Errors
    /// A value that a condition is about cannot be read.
    pub(crate) fn holds(&self, conditions: &[Compare]) -> Result<bool, Unreadable> {
        for condition in conditions {
            if !self.condition_holds(condition)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every key of the condition's range must satisfy it. No key at all counts as one with version, revisions and
    /// lease 0, but never satisfies a condition on the value, since the API cannot tell a missing value from an empty one.
    fn condition_holds(&self, condition: &Compare) -> Result<bool, Unreadable> {
        let range = KeyRange::new(&condition.key, &condition.range_end);
        let mut found = self.index.range(&range, self.revision).filter_map(|(_, rev)| self.history.get(rev)).peekable();
        if found.peek().is_none() {
            return Ok(condition.target != CompareTarget::Value as i32 && satisfied(condition, None, &**self.values())?);
        }
        for record in found {
            if !satisfied(condition, Some(&record), &**self.values())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn satisfied(condition: &Compare, record: Option<&Record>, values: &dyn Values) -> Result<bool, Unreadable> {
    let union = condition.target_union.as_ref();
    let number =
        |actual: fn(&Record) -> i64, expected: Option<i64>| record.map_or(0, actual).cmp(&expected.unwrap_or(0));
    // As in etcd a target that nobody knows is equal to what is expected, and a result that nobody knows holds.
    let Ok(target) = CompareTarget::try_from(condition.target) else { return Ok(holds(condition, Ordering::Equal)) };
    let ordering = match target {
        CompareTarget::Value => {
            let expected: &[u8] = match union {
                Some(TargetUnion::Value(value)) => value,
                _ => &[],
            };
            match record {
                Some(record) => (*record.value.read(values)?).cmp(expected),
                None => [][..].cmp(expected),
            }
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
    Ok(holds(condition, ordering))
}

fn holds(condition: &Compare, ordering: Ordering) -> bool {
    match CompareResult::try_from(condition.result) {
        Ok(CompareResult::Equal) => ordering == Ordering::Equal,
        Ok(CompareResult::NotEqual) => ordering != Ordering::Equal,
        Ok(CompareResult::Greater) => ordering == Ordering::Greater,
        Ok(CompareResult::Less) => ordering == Ordering::Less,
        Err(_) => true,
    }
}
