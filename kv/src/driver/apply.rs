//! Applies committed entries in order, a bounded number under one hold of the store's lock, and answers who asked.
use std::{io, sync::atomic::Ordering};

use hull_kv_core::{Applied, Instant, Outcome, Response, Store};
use hull_kv_proto::hullpb::{Command, command::Op};
use prost::Message as _;
use raft::{
    StateRole,
    eraftpb::{Entry, EntryType},
};

use super::{Driver, Fate, Outlet, propose::conf_change};
use crate::{
    limits::APPLY_UNDER_LOCK,
    lock::{read, write},
};

impl Driver {
    /// Applies entries and answers those of them that were proposed here.
    ///
    /// # Errors
    /// An entry is no command that this version knows, or a value that it needs cannot be read: the member must stop, since it
    /// cannot be what the others are.
    pub(super) fn apply(&mut self, committed: Vec<Entry>, now: Instant, outlet: &mut dyn Outlet) -> io::Result<()> {
        let Some((last, term)) = committed.last().map(|entry| (entry.index, entry.term)) else { return Ok(()) };
        let count = committed.len() as u64;
        let mut entries = committed.into_iter().peekable();
        while entries.peek().is_some() {
            let batch: Vec<Entry> = entries.by_ref().take(APPLY_UNDER_LOCK).collect();
            let (outcomes, woken) = {
                let mut store = write(&self.shared.store);
                let applied = batch.into_iter().filter_map(|entry| apply_entry(&mut store, entry, now).transpose());
                let outcomes: Vec<Taken> = applied.collect::<io::Result<_>>()?;
                self.shared.standing.follow_users(&store);
                (outcomes, store.hub_mut().take_woken())
            };
            if let Some(why) = self.shared.runs.damage() {
                return Err(io::Error::other(why.to_owned()));
            }
            self.answers.woken.extend(woken);
            for taken in outcomes {
                if matches!(taken.outcome.result, Ok(Response::Members(_))) {
                    self.take_change(taken.change.as_ref(), outlet);
                }
                self.answer(taken.outcome);
            }
        }
        self.raft.mut_store().set_applied(last);
        self.recover_lost(term);
        let metrics = &self.shared.metrics;
        metrics.applied.fetch_add(count, Ordering::Relaxed);
        metrics.committed.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets entries that nobody needs any more.
    pub(super) fn trim_log(&mut self) {
        if self.alone() {
            return self.raft.mut_store().forget(u64::MAX, 0, 0);
        }
        let mut needed = u64::MAX;
        if self.raft.raft.state == StateRole::Leader {
            let progress = self.raft.raft.prs().iter().filter(|(_, progress)| progress.recent_active);
            needed = progress.map(|(_, p)| p.matched.max(p.pending_snapshot) + 1).min().unwrap_or(u64::MAX);
        }
        self.raft.mut_store().forget(needed, self.catch_up_bytes, 8 * self.catch_up_bytes);
    }

    /// The members are others now: raft, the network and this member itself follow.
    fn take_change(&mut self, change: Option<&hull_kv_proto::hullpb::MemberChange>, outlet: &mut dyn Outlet) {
        // An update of addresses is no matter of raft's.
        if let Some(change) = change
            && let Ok(conf) = self.raft.apply_conf_change(&conf_change(change))
        {
            self.raft.mut_store().set_conf(conf);
        }
        self.members_changed(outlet);
    }

    /// Tells the network who belongs to the cluster, and finds out whether this member still does.
    pub(super) fn members_changed(&mut self, outlet: &mut dyn Outlet) {
        let store = read(&self.shared.store);
        self.shared.standing.follow(&store, self.shared.member);
        if store.members().was_removed(self.shared.member) {
            self.fate = Fate::Removed;
        }
        outlet.members_changed(store.members());
    }
}

/// What an entry did.
struct Taken {
    outcome: Outcome,
    /// The change of voters or learners that it was.
    change: Option<hull_kv_proto::hullpb::MemberChange>,
}

/// Applies one entry. An empty one (a leader's first) only takes its place.
///
/// # Errors
/// It holds what this version does not know, most likely because a newer one wrote it.
fn apply_entry(store: &mut Store, entry: Entry, now: Instant) -> io::Result<Option<Taken>> {
    let applied = Applied { index: entry.index, term: entry.term };
    let reconfigures = entry.entry_type != EntryType::EntryNormal;
    let bytes = if reconfigures { entry.context } else { entry.data };
    if bytes.is_empty() {
        store.skip(applied);
        return Ok(None);
    }
    let command = Command::decode(bytes).ok().filter(|command| command.op.is_some()).ok_or_else(|| {
        let index = applied.index;
        io::Error::other(format!("entry {index} of the log is none that this version knows: start a newer one"))
    })?;
    let change = match &command.op {
        Some(Op::MemberChange(change)) if reconfigures => Some(change.clone()),
        _ => None,
    };
    Ok(Some(Taken { outcome: store.apply(applied, command, now), change }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_newer_version_stops_the_member_instead_of_being_passed_over() {
        let mut store = Store::new();
        let entry = |index, data: &[u8]| Entry { index, term: 1, data: data.to_vec().into(), ..Entry::default() };
        assert!(matches!(apply_entry(&mut store, entry(1, b""), Instant::default()), Ok(None)));
        assert_eq!(store.applied().index, 1);
        // No bytes of protobuf, and a kind of command that nobody knows.
        for unknown in [&b"\xff"[..], &[0xf2, 0x3f, 0]] {
            let refused = apply_entry(&mut store, entry(2, unknown), Instant::default()).map(|_| ());
            assert!(refused.is_err_and(|why| why.to_string().contains("entry 2 of the log")));
        }
        assert_eq!(store.applied().index, 1);
    }
}
