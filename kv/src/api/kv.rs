//! The KV service: Range, Put, DeleteRange, Txn, Compact.
use hull_kv_core::{Response as Answer, Store};
use hull_kv_proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
        RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse, request_op::Request as Op,
    },
    hullpb::command::Op as Command,
};
use tonic::Status;

use super::{Api, Needs, refused};
use crate::{driver::thread::Shrink, metrics::count};

/// What the state machine answered to another command than was asked: a mistake in this program.
pub(super) fn mismatch() -> Status {
    Status::internal("the state machine answered another command; please report this")
}

impl Api {
    pub(crate) async fn range_local(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        self.wait_for(self.range_needs(request)?).await?;
        self.range_now(request)
    }

    /// Answers a range from the store as it is now, in one piece.
    pub(super) fn range_in(&self, store: &Store, request: &RangeRequest) -> Result<RangeResponse, Status> {
        count(&self.shared.metrics.ranges);
        let caller = self.caller_in(store)?;
        store.auth().permit_read(&caller, &request.key, &request.range_end).map_err(refused)?;
        let mut response = store.range(request).map_err(refused)?;
        response.header = response.header.map(|header| self.header_of(store, header.revision));
        Ok(response)
    }

    pub(crate) async fn put_logged(&self, request: PutRequest) -> Result<PutResponse, Status> {
        self.put_answer(self.propose(self.put_command(request)?).await?)
    }

    pub(crate) async fn delete_logged(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
        self.delete_answer(self.propose(self.delete_command(request)?).await?)
    }

    pub(crate) async fn txn_either(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        match self.txn_needs(request)? {
            Needs::Command(command) => self.txn_answer(self.propose(command).await?),
            Needs::Read(request, freshness) => self.txn_fresh(&request, freshness).await,
        }
    }

    pub(crate) async fn compact(self, request: CompactionRequest) -> Result<CompactionResponse, Status> {
        let physical = request.physical;
        let Answer::Compaction(mut response) = self.propose(Command::Compaction(request)).await? else {
            return Err(mismatch());
        };
        if physical {
            self.shrink(Shrink::Compacted).await?;
        }
        self.fill(&mut response.header);
        Ok(response)
    }
}

/// Whether every read of a transaction is content with what this member has.
pub(super) fn is_serializable(request: &TxnRequest) -> bool {
    let relaxed = |op: &RequestOp| matches!(&op.request, Some(Op::RequestRange(range)) if range.serializable);
    request.success.iter().chain(&request.failure).all(relaxed)
}
