//! How a member without data becomes one of its cluster.
use std::time::{SystemTime, UNIX_EPOCH};

use hull_kv_core::Member;

use super::{ServeError, io_error};
use crate::{
    config::{Config, State},
    disk::Disk,
    driver::{Birth, Driver},
    peer::{Dialer, look},
};

/// A number that no earlier life of this member used: nanoseconds since 1970.
pub(super) fn life() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::try_from(since.as_nanos()).unwrap_or(1))
}

/// What a member without data begins as. With data the flags are not looked at, as in etcd.
///
/// # Errors
/// The cluster exists and does not know this member, or knew it before; each with what to do.
pub(super) async fn birth(config: &Config, disk: &dyn Disk, dialer: &Dialer) -> Result<Birth, ServeError> {
    let cluster = &config.cluster;
    let found = Birth::found(&cluster.first, &cluster.token, &config.name)
        .ok_or_else(|| ServeError::Join(format!("--initial-cluster does not name {}", config.name)))?;
    if !Driver::is_new(disk).map_err(io_error("look into the data folder"))? {
        return Ok(found);
    }
    match cluster.state {
        State::New => {
            refuse_second_start(config, found.member(), dialer).await?;
            Ok(found)
        }
        State::Existing => join(config, dialer).await,
    }
}

/// Addresses of all members but this one.
fn others(config: &Config) -> impl Iterator<Item = &Vec<String>> {
    config.cluster.first.iter().filter(|(name, _)| *name != config.name).map(|(_, urls)| urls)
}

/// A member that began once must not begin again: it would have forgotten what it acknowledged and whom it voted for.
async fn refuse_second_start(config: &Config, member: u64, dialer: &Dialer) -> Result<(), ServeError> {
    for urls in others(config) {
        let Ok(looked) = look(dialer, urls).await else { continue };
        if let Some(known) = looked.members.iter().find(|known| known.id == member) {
            refuse_if_begun(config, known)?;
        }
    }
    Ok(())
}

/// A member that has told the cluster its name had data, and must not begin without.
fn refuse_if_begun(config: &Config, known: &Member) -> Result<(), ServeError> {
    if known.name.is_empty() {
        return Ok(());
    }
    let id = known.id;
    Err(ServeError::Join(format!(
        "member {id:x} has already been bootstrapped: the cluster knows it, but the data folder {} is empty. Remove the \
         member (etcdctl member remove {id:x}), add it again (etcdctl member add {} --peer-urls={}), and start it with \
         --initial-cluster-state existing",
        config.data_dir.display(),
        config.name,
        config.cluster.peer_urls.join(",")
    )))
}

/// Asks the members which id the cluster gave to this one's addresses.
async fn join(config: &Config, dialer: &Dialer) -> Result<Birth, ServeError> {
    let mut own = config.cluster.peer_urls.clone();
    own.sort_unstable();
    let (mut trouble, mut begun) = ("--initial-cluster names no other member".to_owned(), None);
    for urls in others(config) {
        match look(dialer, urls).await {
            Ok(looked) => {
                let mine = looked.members.iter().find(|known| {
                    let mut known = known.peer_urls.clone();
                    known.sort_unstable();
                    known == own
                });
                if let Some(mine) = mine {
                    match refuse_if_begun(config, mine) {
                        // Another member may know already that it was removed and added again.
                        Err(why) => begun = Some(why),
                        Ok(()) => {
                            let member = mine.id;
                            return Ok(Birth::Join { member, cluster: looked.cluster, members: looked.members });
                        }
                    }
                }
                trouble = format!("the cluster at {} has no member with these addresses", urls.join(", "));
            }
            Err(error) => trouble = error.to_string(),
        }
    }
    if let Some(begun) = begun {
        return Err(begun);
    }
    Err(ServeError::Join(format!(
        "join the cluster as {} ({}): {trouble}. Add the member first: etcdctl member add {} --peer-urls={}",
        config.name,
        own.join(","),
        config.name,
        own.join(",")
    )))
}
