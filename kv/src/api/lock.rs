//! The Lock service: whoever queued first under the name has it, until it is unlocked or its lease ends.
use bytes::Bytes;
use hull_kv_proto::{
    etcdserverpb::DeleteRangeRequest,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
};
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl Lock for Api {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let request = request.into_inner();
        let place = self.queue_up(&request.name, request.lease, Bytes::new()).await?;
        let waiting = self.giving_up(&place);
        let header = self.turn(&request.name, &place).await?;
        waiting.keep();
        Ok(Response::new(LockResponse { header: Some(header), key: place.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let request = DeleteRangeRequest { key: request.into_inner().key, ..DeleteRangeRequest::default() };
        let header = self.delete_logged(request).await?.header;
        Ok(Response::new(UnlockResponse { header }))
    }
}
