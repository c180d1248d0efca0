//! The Cluster service. One member for now: it lists itself; changes are answered as not implemented.
use hull_kv_core::Vote;
use hull_kv_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
    cluster_server::Cluster,
};
use tonic::{Request, Response, Status};

use super::Api;
use crate::lock::read;

fn one_member_only(what: &str) -> Status {
    Status::unimplemented(format!("{what}: this version runs a cluster of one member"))
}

#[tonic::async_trait]
impl Cluster for Api {
    async fn member_add(&self, _: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        self.permit_admin().await?;
        Err(one_member_only("add a member"))
    }

    async fn member_remove(&self, _: Request<MemberRemoveRequest>) -> Result<Response<MemberRemoveResponse>, Status> {
        self.permit_admin().await?;
        Err(one_member_only("remove a member"))
    }

    async fn member_update(&self, _: Request<MemberUpdateRequest>) -> Result<Response<MemberUpdateResponse>, Status> {
        self.permit_admin().await?;
        Err(one_member_only("update a member"))
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        if request.get_ref().linearizable {
            self.linearize().await?;
        }
        let store = read(&self.shared.store);
        let members = store
            .members()
            .iter()
            .map(|member| Member {
                id: member.id,
                name: member.name.clone(),
                peer_ur_ls: member.peer_urls.clone(),
                client_ur_ls: member.client_urls.clone(),
                is_learner: member.vote == Vote::Learner,
            })
            .collect();
        // etcd says no revision here.
        Ok(Response::new(MemberListResponse { header: Some(self.header_of(&store, 0)), members }))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.permit_admin().await?;
        Err(one_member_only("promote a member"))
    }
}
