//! Calls whose answer needs no task that waits for it: the parts before and after the wait.
use std::sync::Arc;

use hull_kv_core::{Caller, Response as Answer, check_delete, check_put, check_range, check_txn};
use hull_kv_proto::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest,
        TxnResponse,
    },
    hullpb::command::Op as Command,
};
use tonic::Status;

use super::{
    Api,
    kv::{is_serializable, mismatch},
    refused,
};
use crate::{
    auth::index_of,
    driver::{Recipient, thread::Input},
    lock::read,
    metrics::count,
    patience::Late,
};

/// How new a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What this member has will do.
    Now,
    /// It must see every write acknowledged before.
    Linearizable,
}

/// What a transaction needs.
#[derive(Debug)]
pub(crate) enum Needs {
    /// It writes.
    Command(Command),
    /// It reads only.
    Read(TxnRequest, Freshness),
}

impl Api {
    /// Whether the client's token is one that this member may not know yet.
    pub(crate) fn must_learn_token(&self) -> bool {
        let index = self.credentials.token().and_then(index_of);
        index.is_some_and(|index| index > read(&self.shared.store).applied().index)
    }

    /// Waits until this member knows every token that was given out.
    pub(crate) async fn learn_token(&self) -> Result<(), Status> {
        self.linearize().await
    }

    /// Checks a put, which then is a command.
    pub(crate) fn put_command(&self, request: PutRequest) -> Result<Command, Status> {
        check_put(&request).map_err(refused)?;
        count(&self.shared.metrics.puts);
        Ok(Command::Put(request))
    }

    /// What the state machine answered to it.
    pub(crate) fn put_answer(&self, answer: Answer) -> Result<PutResponse, Status> {
        let Answer::Put(mut response) = answer else { return Err(mismatch()) };
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Checks a deletion, which then is a command.
    pub(crate) fn delete_command(&self, request: DeleteRangeRequest) -> Result<Command, Status> {
        check_delete(&request).map_err(refused)?;
        count(&self.shared.metrics.deletes);
        Ok(Command::DeleteRange(request))
    }

    /// What the state machine answered to it.
    pub(crate) fn delete_answer(&self, answer: Answer) -> Result<DeleteRangeResponse, Status> {
        let Answer::DeleteRange(mut response) = answer else { return Err(mismatch()) };
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Checks a transaction.
    pub(crate) fn txn_needs(&self, request: TxnRequest) -> Result<Needs, Status> {
        check_txn(&request, self.bounds().txn_ops).map_err(refused)?;
        count(&self.shared.metrics.txns);
        if !hull_kv_core::Store::is_read_only(&request) {
            return Ok(Needs::Command(Command::Txn(request)));
        }
        let freshness = if is_serializable(&request) { Freshness::Now } else { self.linearizable()? };
        Ok(Needs::Read(request, freshness))
    }

    /// What the state machine answered to one that writes.
    pub(crate) fn txn_answer(&self, answer: Answer) -> Result<TxnResponse, Status> {
        let Answer::Txn(mut response) = answer else { return Err(mismatch()) };
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Answers one that reads only.
    pub(crate) async fn txn_fresh(&self, request: &TxnRequest, freshness: Freshness) -> Result<TxnResponse, Status> {
        self.wait_for(freshness).await?;
        let mut response = {
            let store = read(&self.shared.store);
            let caller = self.caller_in(&store)?;
            store.permit_txn(&caller, request).map_err(refused)?;
            store.read_txn(request).map_err(refused)?
        };
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Checks a range.
    pub(crate) fn range_needs(&self, request: &RangeRequest) -> Result<Freshness, Status> {
        check_range(request).map_err(refused)?;
        if request.serializable { Ok(Freshness::Now) } else { self.linearizable() }
    }

    /// Answers a range from the store as it is now.
    pub(crate) fn range_now(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        self.range_in(&read(&self.shared.store), request)
    }

    /// What a linearizable read waits for. A member that is alone in its cluster has applied everything that was acknowledged,
    /// because nobody else could have acknowledged anything.
    pub(super) fn linearizable(&self) -> Result<Freshness, Status> {
        if self.is_whole_cluster() {
            return Ok(Freshness::Now);
        }
        self.refuse_learner()?;
        Ok(Freshness::Linearizable)
    }

    /// Puts a command through the log; `who` hears once it is durable and applied, or why not.
    pub(crate) fn propose_for<W: Recipient<Answer> + Late + 'static>(
        &self,
        command: Command,
        caller: Caller,
        who: Arc<W>,
    ) {
        let reply: Arc<dyn Recipient<Answer>> = Arc::clone(&who) as Arc<dyn Recipient<Answer>>;
        self.desk.ask_for(Input::Propose(command, caller, reply.into()), who);
    }

    /// `who` hears once the store is as new as it wants.
    pub(crate) fn read_for<W: Recipient<()> + Late + 'static>(&self, freshness: Freshness, who: Arc<W>) {
        match freshness {
            Freshness::Now => who.take(Ok(())),
            Freshness::Linearizable => {
                let reply: Arc<dyn Recipient<()>> = Arc::clone(&who) as Arc<dyn Recipient<()>>;
                self.desk.ask_for(Input::Read(reply.into()), who);
            }
        }
    }

    /// In whose name a write runs. Checked once more when it is applied, so that what is known without the store's lock will do here.
    ///
    /// # Errors
    /// This member takes no writes, or does not know who the client is.
    pub(crate) fn writer(&self) -> Result<Caller, Status> {
        self.refuse_learner()?;
        if self.shared.standing.enforces_users() {
            self.caller_in(&read(&self.shared.store))
        } else {
            Ok(Caller::Nobody)
        }
    }
}
