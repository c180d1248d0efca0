//! Transactions: conditions choose the branches first, then everything that could refuse is checked, then it is done.
use hull_kv_proto::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, request_op::Request,
    response_op::Response,
};

use crate::{
    error::Refused,
    put::{Write, header},
    store::Store,
};

/// Which branch each transaction takes, the outer one first, then those nested in its branch, depth first.
type Path = Vec<bool>;

impl Store {
    /// Answers a transaction that only reads.
    ///
    /// # Errors
    /// A range in the branch that is taken names a compacted or future revision.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Refused> {
        let path = self.choose(request)?;
        self.check_path(request, &path)?;
        self.read_branch(request, &mut path.iter(), Some(header(self.revision)))
    }

    /// Whether a transaction only reads. As in etcd a nested transaction counts as writing.
    pub fn is_read_only(request: &TxnRequest) -> bool {
        request.success.iter().chain(&request.failure).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
    }

    fn read_branch(
        &self,
        request: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
        header: Option<ResponseHeader>,
    ) -> Result<TxnResponse, Refused> {
        let succeeded = *path.next().unwrap_or(&false);
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => Some(Response::ResponseRange(self.range(range)?)),
                _ => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse { header, succeeded, responses })
    }

    fn choose(&self, request: &TxnRequest) -> Result<Path, Refused> {
        let succeeded = self.holds(&request.compare)?;
        let mut path = vec![succeeded];
        for op in branch(request, succeeded) {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                path.extend(self.choose(nested)?);
            }
        }
        Ok(path)
    }

    /// Everything that can refuse, checked before anything is changed: all puts first, then all ranges, so that of two
    /// refusals the same one is answered as by etcd.
    fn check_path(&self, request: &TxnRequest, path: &Path) -> Result<(), Refused> {
        let put = |op: &Request| if let Request::RequestPut(put) = op { self.check_txn_put(put) } else { Ok(()) };
        let range =
            |op: &Request| if let Request::RequestRange(range) = op { self.check_txn_range(range) } else { Ok(()) };
        check_branch(request, &mut path.iter(), &put)?;
        check_branch(request, &mut path.iter(), &range)
    }

    fn check_txn_put(&self, put: &PutRequest) -> Result<(), Refused> {
        if (put.ignore_value || put.ignore_lease) && self.lookup(&put.key, self.revision).is_none() {
            return Err(Refused::KeyNotFound);
        }
        if put.lease != 0 && !self.lessor.exists(put.lease) {
            return Err(Refused::LeaseNotFound);
        }
        Ok(())
    }

    fn check_txn_range(&self, range: &RangeRequest) -> Result<(), Refused> {
        match range.revision {
            0 => Ok(()),
            // Outside a transaction it would be the current revision; here etcd takes it at its word.
            asked if asked < self.compacted => Err(Refused::Compacted),
            asked => self.read_at(asked, self.revision).map(drop),
        }
    }

    /// Does a transaction.
    pub(crate) fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, Refused> {
        let path = self.choose(&request)?;
        self.check_path(&request, &path)?;
        let mut write = Write::new(self);
        let mut response = write.branch(request, &mut path.iter());
        let revision = write.finish();
        if let Ok(response) = &mut response {
            response.header = Some(header(revision));
        }
        response
    }
}

impl Write<'_> {
    fn branch(&mut self, request: TxnRequest, path: &mut std::slice::Iter<'_, bool>) -> Result<TxnResponse, Refused> {
        let succeeded = *path.next().unwrap_or(&false);
        let ops = if succeeded { request.success } else { request.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            let response = match op.request {
                Some(Request::RequestRange(range)) => {
                    Some(Response::ResponseRange(self.store.range_at(&range, self.read_revision())?))
                }
                Some(Request::RequestPut(put)) => Some(Response::ResponsePut(self.put(put)?)),
                Some(Request::RequestDeleteRange(delete)) => {
                    Some(Response::ResponseDeleteRange(self.delete_range(&delete)?))
                }
                Some(Request::RequestTxn(nested)) => Some(Response::ResponseTxn(self.branch(nested, path)?)),
                None => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Runs a check over every operation of the branches that will be taken.
fn check_branch(
    request: &TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
    check: &impl Fn(&Request) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let succeeded = *path.next().unwrap_or(&false);
    for op in branch(request, succeeded) {
        match &op.request {
            Some(Request::RequestTxn(nested)) => check_branch(nested, path, check)?,
            Some(op) => check(op)?,
            None => {}
        }
    }
    Ok(())
}
