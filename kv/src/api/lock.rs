//! The Lock service: whoever queued first under the name has it, until it is unlocked or its lease ends.
use bytes::Bytes;
use hull_kv_proto::{
    etcdserverpb::DeleteRangeRequest,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};
use tonic::Status;

use super::{Api, turns::passed_on};

impl Api {
    async fn lock_for(&self, request: LockRequest) -> Result<LockResponse, Status> {
        let place = self.queue_up(&request.name, request.lease, Bytes::new()).await?;
        let waiting = self.giving_up(&place);
        let header = self.turn(&request.name, &place).await?;
        // Whether it came or was lost: there is no place to give up any more.
        waiting.keep();
        let header = header.ok_or_else(|| Status::unknown("mutex: session is expired"))?;
        Ok(LockResponse { header: Some(header), key: place.key })
    }

    pub(crate) async fn lock(self, request: LockRequest) -> Result<LockResponse, Status> {
        self.lock_for(request).await.map_err(passed_on)
    }

    pub(crate) async fn unlock(self, request: UnlockRequest) -> Result<UnlockResponse, Status> {
        let request = DeleteRangeRequest { key: request.key, ..DeleteRangeRequest::default() };
        let header = self.delete_logged(request).await.map_err(passed_on)?.header;
        Ok(UnlockResponse { header })
    }
}
