//! How a member without data begins: as one of the first members of a cluster, or by joining one. Ids are etcd's.
use hull_kv_core::{Applied, Member, Members, Store, Vote};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Where in the log the first members stand. Not at the start: an empty log there is a member that knows nothing, and
/// must get them as a snapshot.
const FOUNDED_AT: Applied = Applied { index: 1, term: 1 };

/// How a member without data begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Birth {
    /// As one of the first; all of them begin with the same list.
    Found {
        /// Which of them it is.
        member: u64,
        /// All of them.
        members: Vec<Member>,
    },
    /// In a cluster that exists and has added it.
    Join {
        /// The id that the cluster gave it.
        member: u64,
        /// The cluster.
        cluster: u64,
        /// Who belongs to it, as one of them says: enough to answer whoever sends the real state.
        members: Vec<Member>,
    },
}

/// etcd's id of a member (`membership.NewMember`): its peer addresses and the cluster's token; a member that is added
/// later has the time (seconds since 1970) instead of a token, so that the same addresses never give the same id twice.
pub fn member_id(peer_urls: &[String], token: &str, added_at: Option<u64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let mut text = urls.concat();
    text.push_str(token);
    if let Some(seconds) = added_at {
        text.push_str(&seconds.to_string());
    }
    first_word(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// etcd's id of a cluster (`RaftCluster.genID`): the ids of its first members, in order.
fn cluster_id(members: &[Member]) -> u64 {
    let mut ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    let ids: Vec<u8> = ids.into_iter().flat_map(u64::to_be_bytes).collect();
    first_word(digest(&SHA1_FOR_LEGACY_USE_ONLY, &ids).as_ref())
}

/// Never 0, which is raft's "nobody".
fn first_word(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte)).max(1)
}

impl Birth {
    /// A cluster of these first members, each a name and its peer addresses. `None`: nobody of that name is among them.
    pub fn found(first: &[(String, Vec<String>)], token: &str, name: &str) -> Option<Self> {
        let members: Vec<Member> = first
            .iter()
            .map(|(name, peer_urls)| Member {
                id: member_id(peer_urls, token, None),
                name: name.clone(),
                peer_urls: peer_urls.clone(),
                client_urls: Vec::new(),
                vote: Vote::Voter,
            })
            .collect();
        let member = members.iter().find(|member| member.name == name)?.id;
        Some(Self::Found { member, members })
    }

    /// The member's own id.
    pub fn member(&self) -> u64 {
        match self {
            Self::Found { member, .. } | Self::Join { member, .. } => *member,
        }
    }

    /// The cluster's id.
    pub fn cluster(&self) -> u64 {
        match self {
            Self::Found { members, .. } => cluster_id(members),
            Self::Join { cluster, .. } => *cluster,
        }
    }

    /// The store that it begins with.
    pub(super) fn store(&self) -> Store {
        self.store_with(Store::new())
    }

    /// The store that it begins with, with data from elsewhere. First members that have not started have no name yet, as
    /// in etcd.
    pub fn store_with(&self, mut store: Store) -> Store {
        match self {
            Self::Found { members, .. } => {
                let mut all = Members::default();
                members.iter().cloned().for_each(|member| all.insert(Member { name: String::new(), ..member }));
                store.found(cluster_id(members), all, FOUNDED_AT);
            }
            Self::Join { cluster, members, .. } => {
                let mut all = Members::default();
                members.iter().cloned().for_each(|member| all.insert(member));
                store.found(*cluster, all, Applied::default());
            }
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcds() {
        let first = [("default".to_owned(), vec!["http://localhost:2380".to_owned()])];
        let birth = Birth::found(&first, "etcd-cluster", "default").expect("is among them");
        // What every etcd with default flags says of itself.
        assert_eq!(birth.member(), 0x8e9e_05c5_2164_694d);
        assert_eq!(birth.store().cluster_id(), 0xcdf8_1819_4e3a_8c32);
    }
}
