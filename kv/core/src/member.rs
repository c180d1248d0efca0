//! Who belongs to the cluster, as the log says.
use std::collections::{BTreeMap, BTreeSet};

use hull_kv_proto::hullpb::{self, MemberChange, member_change::Kind};

use crate::{error::Refused, limits::MAX_LEARNERS};

/// Whether a member's vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// It counts.
    Voter,
    /// It only listens.
    Learner,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Raft id.
    pub id: u64,
    /// Human name; empty until the member has started.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has started.
    pub client_urls: Vec<String>,
    /// Voter or learner.
    pub vote: Vote,
}

/// All members by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    by_id: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
}

impl Members {
    /// In order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// Whether the one voter is `id` and there is nobody else: then what `id` has applied is all there is.
    pub fn only(&self, id: u64) -> bool {
        self.by_id.len() == 1 && self.by_id.contains_key(&id)
    }

    /// A member by its id.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// Whether a member of this id was removed: the id never comes back.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Ids of one kind of member, in order.
    pub fn ids(&self, vote: Vote) -> Vec<u64> {
        self.iter().filter(|member| member.vote == vote).map(|member| member.id).collect()
    }

    /// Ids that were removed.
    pub(crate) fn removed(&self) -> Vec<u64> {
        self.removed.iter().copied().collect()
    }

    pub(crate) fn restore_removed(&mut self, ids: Vec<u64>) {
        self.removed = ids.into_iter().collect();
    }

    /// Applies a change in etcd's order of checks (`ValidateConfigurationChange`).
    pub(crate) fn change(&mut self, change: MemberChange) -> Result<(), Refused> {
        let kind = change.kind();
        let member = Member::from(change.member.unwrap_or_default());
        if self.removed.contains(&member.id) {
            return Err(Refused::MemberRemoved);
        }
        match kind {
            Kind::Add => self.add(member),
            Kind::Remove => {
                self.by_id.remove(&member.id).ok_or(Refused::MemberNotFound)?;
                self.removed.insert(member.id);
                Ok(())
            }
            Kind::Promote => {
                let found = self.by_id.get_mut(&member.id).ok_or(Refused::MemberNotFound)?;
                if found.vote != Vote::Learner {
                    return Err(Refused::MemberNotLearner);
                }
                found.vote = Vote::Voter;
                Ok(())
            }
            Kind::Update => {
                if !self.by_id.contains_key(&member.id) {
                    return Err(Refused::MemberNotFound);
                }
                self.check_urls(&member)?;
                self.by_id.entry(member.id).and_modify(|found| found.peer_urls = member.peer_urls);
                Ok(())
            }
        }
    }

    fn add(&mut self, member: Member) -> Result<(), Refused> {
        if self.by_id.contains_key(&member.id) {
            return Err(Refused::MemberExists);
        }
        self.check_urls(&member)?;
        if member.vote == Vote::Learner && self.ids(Vote::Learner).len() >= MAX_LEARNERS {
            return Err(Refused::TooManyLearners);
        }
        self.insert(member);
        Ok(())
    }

    /// No two members share an address.
    fn check_urls(&self, member: &Member) -> Result<(), Refused> {
        let others = self.iter().filter(|other| other.id != member.id);
        let taken = others.flat_map(|other| &other.peer_urls).any(|url| member.peer_urls.contains(url));
        if taken { Err(Refused::PeerUrlExists) } else { Ok(()) }
    }

    /// Adds or replaces a member.
    pub fn insert(&mut self, member: Member) {
        self.by_id.insert(member.id, member);
    }

    /// What a member said of itself.
    pub(crate) fn describe(&mut self, attributes: hullpb::MemberAttributes) {
        if let Some(member) = self.by_id.get_mut(&attributes.id) {
            member.name = attributes.name;
            member.client_urls = attributes.client_urls;
        }
    }

    pub(crate) fn to_wire(&self) -> Vec<hullpb::Member> {
        self.iter().map(Member::to_wire).collect()
    }
}

impl Member {
    /// As the log, snapshots and peers carry it.
    pub fn to_wire(&self) -> hullpb::Member {
        hullpb::Member {
            id: self.id,
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
            client_urls: self.client_urls.clone(),
            learner: self.vote == Vote::Learner,
        }
    }
}

impl From<hullpb::Member> for Member {
    fn from(m: hullpb::Member) -> Self {
        Self {
            id: m.id,
            name: m.name,
            peer_urls: m.peer_urls,
            client_urls: m.client_urls,
            vote: if m.learner { Vote::Learner } else { Vote::Voter },
        }
    }
}
