//! Reading keys: which ones, as of which revision, in which order, how many.
use hull_kv_proto::etcdserverpb::{
    RangeRequest, RangeResponse,
    range_request::{SortOrder, SortTarget},
};

use crate::{
    error::Refused,
    keyrange::KeyRange,
    put::header,
    record::{Record, Revision},
    store::Store,
    value::Value,
};

impl Store {
    /// Answers a range request from the current state.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Refused> {
        self.range_at(request, self.revision)
    }

    /// Checks a revision that a request names against what there is; 0 and below mean the current one.
    pub(crate) fn read_at(&self, asked: i64, current: i64) -> Result<i64, Refused> {
        self.check_whole()?;
        if asked > current {
            return Err(Refused::FutureRevision);
        }
        let at = if asked <= 0 { current } else { asked };
        if at < self.compacted { Err(Refused::Compacted) } else { Ok(at) }
    }

    /// Answers a range request where the newest visible revision is `current` (a transaction sees its own changes).
    pub(crate) fn range_at(&self, request: &RangeRequest, current: i64) -> Result<RangeResponse, Refused> {
        let at = self.read_at(request.revision, current)?;
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut response = RangeResponse { header: Some(header(current)), ..RangeResponse::default() };
        if request.count_only {
            response.count = count(self.index.range(&range, at).count());
            return Ok(response);
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let order = Order::of(request);
        let filters = Filters::of(request);
        let mut found: Vec<Revision> = Vec::new();
        let mut total = 0;
        let enough = filters.enough(request, limit);
        for (_, rev) in self.index.range(&range, at) {
            total += 1;
            if found.len() < enough {
                found.push(rev);
            }
        }
        let mut records: Vec<Record> =
            found.into_iter().filter_map(|rev| self.history.get(rev)).filter(|record| filters.pass(record)).collect();
        if let Order::By(SortTarget::Value, _) = order {
            for record in &mut records {
                record.value = Value::Here(record.value.read(&**self.values())?);
            }
        }
        order.sort(&mut records);
        if limit > 0 && records.len() > limit {
            records.truncate(limit);
            response.more = true;
        }
        response.count = count(total);
        response.kvs = if request.keys_only {
            records.iter().map(Record::to_kv_without_value).collect()
        } else {
            records.iter().map(|record| record.to_kv(&**self.values())).collect::<Result<_, _>>()?
        };
        Ok(response)
    }
}

pub(crate) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The revision bounds of a request; 0 is no bound.
#[derive(Debug)]
pub(crate) struct Filters {
    mods: (i64, i64),
    creates: (i64, i64),
}

impl Filters {
    pub(crate) fn of(request: &RangeRequest) -> Self {
        Self {
            mods: (request.min_mod_revision, request.max_mod_revision),
            creates: (request.min_create_revision, request.max_create_revision),
        }
    }

    /// How many pairs need be found. Without an order or a filter, one more than the limit is all that "more" needs; the
    /// rest is only counted. As in etcd that holds for a sort target without an order, too: then only what the limit lets
    /// through is sorted.
    pub(crate) fn enough(&self, request: &RangeRequest, limit: usize) -> usize {
        let all_pass = self.mods == (0, 0) && self.creates == (0, 0);
        let unsorted = request.sort_order == SortOrder::None as i32;
        if unsorted && all_pass && limit > 0 { limit + 1 } else { usize::MAX }
    }

    pub(crate) fn pass(&self, record: &Record) -> bool {
        let within = |(min, max): (i64, i64), value: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        within(self.mods, record.rev.main) && within(self.creates, record.create)
    }
}

/// In which order the answer lists keys.
#[derive(Debug)]
pub(crate) enum Order {
    /// By key, ascending, which is how the index yields them.
    AsFound,
    By(SortTarget, SortOrder),
}

impl Order {
    /// etcd's rule: a target other than the key without an order sorts ascending. An order that nobody knows is none at all.
    pub(crate) fn of(request: &RangeRequest) -> Self {
        let Ok(order) = SortOrder::try_from(request.sort_order) else { return Self::AsFound };
        match (request.sort_target(), order) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => Self::AsFound,
            (target, SortOrder::None) => Self::By(target, SortOrder::Ascend),
            (target, order) => Self::By(target, order),
        }
    }

    /// The number that a record is sorted by, unless it is by key, as which they are found, or by value.
    pub(crate) fn rank(&self, record: &Record) -> i64 {
        match self {
            Self::By(SortTarget::Version, _) => record.version,
            Self::By(SortTarget::Create, _) => record.create,
            Self::By(SortTarget::Mod, _) => record.rev.main,
            Self::AsFound | Self::By(SortTarget::Key | SortTarget::Value, _) => 0,
        }
    }

    /// Sorts what was found in the order of its keys.
    pub(crate) fn sort_by_rank<T>(&self, found: &mut [T], rank: impl Fn(&T) -> i64) {
        match self {
            Self::By(SortTarget::Key, SortOrder::Descend) => found.reverse(),
            Self::AsFound | Self::By(SortTarget::Key | SortTarget::Value, _) => {}
            // One sort for both directions: each is a copy of the algorithm in the program.
            Self::By(_, order) => found.sort_by(|a, b| directed(*order, rank(a).cmp(&rank(b)))),
        }
    }

    fn sort(&self, records: &mut [Record]) {
        let Self::By(target, order) = self else { return };
        let compare = |a: &Record, b: &Record| match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create.cmp(&b.create),
            SortTarget::Mod => a.rev.main.cmp(&b.rev.main),
            // Read before.
            SortTarget::Value => a.value.in_memory().cmp(b.value.in_memory()),
        };
        records.sort_by(|a, b| directed(*order, compare(a, b)));
    }
}

fn directed(order: SortOrder, ascending: std::cmp::Ordering) -> std::cmp::Ordering {
    if order == SortOrder::Descend { ascending.reverse() } else { ascending }
}
