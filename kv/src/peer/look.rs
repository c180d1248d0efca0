//! Asks the members of a cluster who belongs to it, before this one belongs to it.
use std::io;

use hull_kv_core::Member;
use hull_kv_proto::hullpb::hello::Channel;

use super::link::{Dialer, hello};

/// What a member answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The cluster's number.
    pub cluster: u64,
    /// Everybody who belongs to it.
    pub members: Vec<Member>,
}

/// Asks the member at one of `urls`.
///
/// # Errors
/// Nobody answers there, or no member.
pub async fn look(dialer: &Dialer, urls: &[String]) -> io::Result<Looked> {
    let (_, welcome) = dialer.open(urls, hello(Channel::Look, 0, 0, 0)).await?;
    Ok(Looked { cluster: welcome.cluster_id, members: welcome.members.into_iter().map(Member::from).collect() })
}
