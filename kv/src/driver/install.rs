//! Snapshots between members: out to one that lags behind, and in from the leader.
use std::io;

use hull_kv_core::Applied;
use raft::{
    SnapshotStatus,
    eraftpb::{ConfState, Message, SnapshotMetadata},
};

use super::{Driver, Fate, Outlet, outlet::SnapshotOut, ready::Ready};
use crate::{
    lock::read,
    snapfile::{Arrived, Encoder},
    wal::Persisted,
};

/// How the sending of a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The other member has all of it.
    Whole,
    /// It does not.
    Broken,
}

impl Driver {
    /// Begins to send a snapshot that raft asks for.
    pub(super) fn send_snapshot(&mut self, message: Message, outlet: &mut dyn Outlet) {
        let wanted = message.get_snapshot().get_metadata();
        let wanted = Applied { index: wanted.index, term: wanted.term };
        match Encoder::new(&self.shared) {
            Ok(encoder) if encoder.applied() == wanted => {
                outlet.send_snapshot(SnapshotOut { to: message.to, message, encoder });
            }
            // More was applied since raft asked; it asks again.
            _ => self.raft.report_snapshot(message.to, SnapshotStatus::Failure),
        }
    }

    /// The sending of a snapshot ended.
    pub fn snapshot_sent(&mut self, to: u64, sent: Sent) {
        let status = match sent {
            Sent::Whole => SnapshotStatus::Finish,
            Sent::Broken => SnapshotStatus::Failure,
        };
        self.raft.report_snapshot(to, status);
    }

    /// A whole snapshot of the leader is here, with raft's message that came with it.
    pub fn arrive(&mut self, message: Message, arrived: Arrived) {
        let metadata = message.get_snapshot().get_metadata();
        let at = Applied { index: metadata.index, term: metadata.term };
        if arrived.store.applied() != at || arrived.store.cluster_id() != self.cluster_id() {
            return arrived.discard(&*self.disk);
        }
        let contradicted = message.term >= self.raft.raft.term && {
            let own = read(&self.shared.store);
            at.index > own.applied().index && own.is_contradicted_by(&arrived.store)
        };
        if contradicted {
            self.fate = Fate::Contradicted;
            return arrived.discard(&*self.disk);
        }
        self.step(message);
        let taken = self.raft.snap().is_some_and(|snapshot| snapshot.get_metadata().index == at.index);
        if taken {
            self.arrived = Some(arrived);
        } else {
            arrived.discard(&*self.disk);
        }
    }

    /// The number of the cluster that this member belongs to.
    pub fn cluster_id(&self) -> u64 {
        read(&self.shared.store).cluster_id()
    }

    /// The snapshot that raft took becomes this member's: file, log, store, in this order.
    pub(super) fn install(
        &mut self,
        ready: &Ready,
        metadata: &SnapshotMetadata,
        outlet: &mut dyn Outlet,
    ) -> io::Result<Persisted> {
        let arrived = self.arrived.take();
        let arrived = arrived.filter(|arrived| arrived.store.applied().index == metadata.index);
        let Some(arrived) = arrived else {
            return Err(io::Error::other("raft took a snapshot that did not arrive; please report this"));
        };
        let installed = arrived.install(&*self.disk, &self.shared)?;
        let state = ready.hard_state().unwrap_or_else(|| self.raft.store().state()).clone();
        let mut proof = self.wal.restart(metadata.index + 1, &state)?;
        if !ready.entries().is_empty() {
            proof = self.wal.append(ready.entries(), Some(&state))?;
        }
        self.snapshot_bytes = installed.written.bytes;
        self.gathered.restart();
        let conf: ConfState = metadata.get_conf_state().clone();
        self.raft.mut_store().restart(metadata.index, metadata.term, conf);
        installed.take_over(&self.shared);
        self.forget_up_to(metadata.term);
        self.members_changed(outlet);
        Ok(proof)
    }
}
