//! The Cluster service: who belongs to the cluster, and changes of that.
use std::time::{SystemTime, UNIX_EPOCH};

use hull_kv_core::{Member as CoreMember, Response as Answer, Vote};
use hull_kv_proto::{
    etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
        MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
    },
    hullpb::{Member as Wanted, MemberChange, command::Op as Command, member_change::Kind},
};
use tonic::Status;

use super::{Api, kv::mismatch};
use crate::{driver::member_id, lock::read};

/// A member as the API shows it.
fn shown(member: &CoreMember) -> Member {
    Member {
        id: member.id,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.vote == Vote::Learner,
    }
}

/// etcd's `types.NewURLs`: at least one, each with a scheme, a host and a port, and no path; or the path of a socket.
fn check_urls(urls: &[String]) -> Result<(), Status> {
    let good = |url: &String| {
        if let Some(path) = url.strip_prefix("unix://") {
            return !path.is_empty();
        }
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        host.and_then(|host| host.rsplit_once(':'))
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
    };
    if !urls.is_empty() && urls.iter().all(good) {
        Ok(())
    } else {
        Err(Status::invalid_argument("etcdserver: given member URLs are invalid"))
    }
}

impl Api {
    /// etcd's id of a member that is added now. One that is taken (the same addresses, removed a moment ago) is passed over.
    fn fresh_member_id(&self, peer_urls: &[String]) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let store = read(&self.shared.store);
        let known = |id: &u64| store.members().was_removed(*id) || store.members().get(*id).is_some();
        let mut ids = (now..).map(|second| member_id(peer_urls, "", Some(second)));
        ids.find(|id| !known(id)).unwrap_or_default()
    }

    /// Changes the members; answers all of them afterwards.
    async fn change_members(&self, kind: Kind, member: Wanted) -> Result<Vec<Member>, Status> {
        let mut change = MemberChange { member: Some(member), ..MemberChange::default() };
        change.set_kind(kind);
        match self.propose(Command::MemberChange(change)).await? {
            Answer::Members(members) => Ok(members.iter().map(shown).collect()),
            _ => Err(mismatch()),
        }
    }

    // etcd says no revision in any of the headers from here on.

    pub(crate) async fn member_add(self, mut request: MemberAddRequest) -> Result<MemberAddResponse, Status> {
        self.permit_admin().await?;
        check_urls(&request.peer_ur_ls)?;
        request.peer_ur_ls.sort_unstable();
        let wanted = Wanted {
            id: self.fresh_member_id(&request.peer_ur_ls),
            peer_urls: request.peer_ur_ls,
            learner: request.is_learner,
            ..Wanted::default()
        };
        let added = shown(&CoreMember::from(wanted.clone()));
        let members = self.change_members(Kind::Add, wanted).await?;
        Ok(MemberAddResponse { header: Some(self.header(0)), member: Some(added), members })
    }

    pub(crate) async fn member_remove(self, request: MemberRemoveRequest) -> Result<MemberRemoveResponse, Status> {
        self.permit_admin().await?;
        let wanted = Wanted { id: request.id, ..Wanted::default() };
        let members = self.change_members(Kind::Remove, wanted).await?;
        Ok(MemberRemoveResponse { header: Some(self.header(0)), members })
    }

    pub(crate) async fn member_update(self, request: MemberUpdateRequest) -> Result<MemberUpdateResponse, Status> {
        self.permit_admin().await?;
        if read(&self.shared.store).members().get(request.id).is_some() {
            check_urls(&request.peer_ur_ls)?;
        }
        let wanted = Wanted { id: request.id, peer_urls: request.peer_ur_ls, ..Wanted::default() };
        let members = self.change_members(Kind::Update, wanted).await?;
        Ok(MemberUpdateResponse { header: Some(self.header(0)), members })
    }

    pub(crate) async fn member_list(self, request: MemberListRequest) -> Result<MemberListResponse, Status> {
        if request.linearizable {
            self.linearize().await?;
        }
        let store = read(&self.shared.store);
        let members = store.members().iter().map(shown).collect();
        Ok(MemberListResponse { header: Some(self.header_of(&store, 0)), members })
    }

    pub(crate) async fn member_promote(self, request: MemberPromoteRequest) -> Result<MemberPromoteResponse, Status> {
        self.permit_admin().await?;
        let wanted = Wanted { id: request.id, ..Wanted::default() };
        let members = self.change_members(Kind::Promote, wanted).await?;
        Ok(MemberPromoteResponse { header: Some(self.header(0)), members })
    }
}
