//! Downgrades, as etcd 3.5 answers: an announced one is remembered until it is taken back, and a second one is refused. Nothing
//! else follows from it here: what members write is not what the version that clients see says, and every version reads it.
use hull_kv_proto::{
    etcdserverpb::{DowngradeRequest, DowngradeResponse, downgrade_request::DowngradeAction},
    hullpb::{DowngradeChange, command::Op as Command},
};
use tonic::Status;

use super::{Api, CLUSTER_VERSION};
use crate::lock::read;

/// The one version that etcd goes back to from [`CLUSTER_VERSION`]: one minor version.
const ALLOWED: (u64, u64) = (3, 4);

/// Major and minor version of `3.4`, `3.4.0` and the like.
fn target(text: &str) -> Option<(u64, u64)> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts = core.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    match *parts.as_slice() {
        [major, minor] if core == text => Some((major, minor)),
        [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

/// etcd's checks, in its order.
fn check(version: &str) -> Result<(), Status> {
    let wanted =
        target(version).ok_or_else(|| Status::invalid_argument("etcdserver: wrong downgrade target version format"))?;
    if wanted == ALLOWED {
        Ok(())
    } else {
        Err(Status::invalid_argument("etcdserver: invalid downgrade target version"))
    }
}

impl Api {
    pub(super) async fn answer_downgrade(&self, request: DowngradeRequest) -> Result<DowngradeResponse, Status> {
        self.permit_admin().await?;
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => self.may_downgrade(&request.version).await?,
            Ok(DowngradeAction::Enable) => {
                self.may_downgrade(&request.version).await?;
                let (major, minor) = ALLOWED;
                self.announce_downgrade(format!("{major}.{minor}.0")).await?;
            }
            Ok(DowngradeAction::Cancel) => {
                self.linearize().await?;
                if read(&self.shared.store).downgrade().is_none() {
                    return Err(Status::failed_precondition("etcdserver: no inflight downgrade job"));
                }
                self.announce_downgrade(String::new()).await?;
            }
            Err(_) => return Err(Status::unknown("etcdserver: unknown method")),
        }
        let revision = read(&self.shared.store).revision();
        Ok(DowngradeResponse { header: Some(self.header(revision)), version: CLUSTER_VERSION.to_owned() })
    }

    async fn may_downgrade(&self, version: &str) -> Result<(), Status> {
        self.linearize().await?;
        check(version)?;
        match read(&self.shared.store).downgrade() {
            Some(_) => Err(Status::failed_precondition("etcdserver: cluster has a downgrade job in progress")),
            None => Ok(()),
        }
    }

    async fn announce_downgrade(&self, target: String) -> Result<(), Status> {
        self.propose(Command::DowngradeChange(DowngradeChange { target })).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_etcd_reads_them() {
        for good in ["3.4", "3.4.0", "3.4.5", "3.4.0-rc1", "3.4.0+x"] {
            assert_eq!(target(good), Some(ALLOWED), "{good}");
        }
        for bad in ["", "3", "v3.4.0", " 3.4.0", "3.4-rc1", "3.4.0.0", "garbage"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_allowed_target_is_one_minor_version_below_the_cluster() {
        let (major, minor) = target(CLUSTER_VERSION).expect("version");
        assert_eq!(ALLOWED, (major, minor - 1));
    }
}
