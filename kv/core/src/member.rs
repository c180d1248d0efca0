//! Who belongs to the cluster, as the log says.
use std::collections::BTreeMap;

use hull_kv_proto::hullpb;

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
        self.iter()
            .map(|m| hullpb::Member {
                id: m.id,
                name: m.name.clone(),
                peer_urls: m.peer_urls.clone(),
                client_urls: m.client_urls.clone(),
                learner: m.vote == Vote::Learner,
            })
            .collect()
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
