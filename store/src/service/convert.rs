//! etcd's messages and the store's words for the same things.

use bytes::Bytes;
use proto::etcd::{etcdserverpb as pb, mvccpb};
use store_client::{
    Compare, KeyRange, KeyValue, LeaseId, Op, OpResult, Order, Range, RangeResult, Revision, Target, Txn,
    TxnResult, validate,
};
use tonic::Status;

use super::error;

/// A range: no end means one key, an end of one zero byte everything from the key on.
pub fn keys(key: Bytes, range_end: Bytes) -> KeyRange {
    if range_end.is_empty() {
        KeyRange::Key(key)
    } else if range_end.as_ref() == [0] {
        KeyRange::From(key)
    } else {
        KeyRange::Interval { start: key, end: range_end }
    }
}

fn some_keys(key: Bytes, range_end: Bytes) -> Result<KeyRange, Status> {
    if key.is_empty() {
        return Err(error::invalid(validate::EMPTY_KEY));
    }
    Ok(keys(key, range_end))
}

/// What is left to do with the result of a read after the store has answered it.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    sort: Option<(pb::range_request::SortTarget, bool)>,
    min_mod: i64,
    max_mod: i64,
    min_create: i64,
    max_create: i64,
    limit: usize,
    keys_only: bool,
}

/// A read, and what to do with its result.
pub fn range(request: pb::RangeRequest) -> Result<(Range, Option<Shaping>), Status> {
    use pb::range_request::{SortOrder, SortTarget};
    let invalid = |_| error::invalid("invalid sort option");
    let order = SortOrder::try_from(request.sort_order).map_err(invalid)?;
    let target = SortTarget::try_from(request.sort_target).map_err(invalid)?;
    let by_key = target == SortTarget::Key;
    let sort = match order {
        SortOrder::None if by_key => None,
        SortOrder::Ascend if by_key => None,
        SortOrder::None | SortOrder::Ascend => Some((target, false)),
        SortOrder::Descend => Some((target, true)),
    };
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let mut range = Range {
        keys: some_keys(request.key, request.range_end)?,
        revision: Revision(request.revision.max(0)),
        limit,
        keys_only: request.keys_only,
        count_only: request.count_only,
        serializable: request.serializable,
    };
    let shaping = Shaping {
        sort,
        min_mod: request.min_mod_revision,
        max_mod: request.max_mod_revision,
        min_create: request.min_create_revision,
        max_create: request.max_create_revision,
        limit,
        keys_only: request.keys_only,
    };
    let filters = [shaping.min_mod, shaping.max_mod, shaping.min_create, shaping.max_create];
    if range.count_only || (shaping.sort.is_none() && filters == [0; 4]) {
        return Ok((range, None));
    }
    // The limit counts what is left after filtering and sorting, and sorting may need the values. Unless no order is
    // asked for: then etcd sorts only what a limited range finds, and the one after it.
    let unordered = order == SortOrder::None && filters == [0; 4];
    range.limit = if unordered && limit > 0 { limit.saturating_add(1) } else { 0 };
    range.keys_only = false;
    Ok((range, Some(shaping)))
}

impl Shaping {
    /// Filters, sorts and cuts, in this order.
    pub fn apply(&self, mut result: RangeResult) -> RangeResult {
        use pb::range_request::SortTarget;
        let within =
            |revision: Revision, min, max| (min == 0 || revision.0 >= min) && (max == 0 || revision.0 <= max);
        result.kvs.retain(|kv| {
            within(kv.mod_revision, self.min_mod, self.max_mod)
                && within(kv.create_revision, self.min_create, self.max_create)
        });
        if let Some((target, descending)) = self.sort {
            // Stable in both directions: what is equal stays in the order of keys, as in etcd.
            result.kvs.sort_by(|a, b| {
                let (a, b) = if descending { (b, a) } else { (a, b) };
                match target {
                    SortTarget::Key => a.key.cmp(&b.key),
                    SortTarget::Version => a.version.cmp(&b.version),
                    SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                    SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                    SortTarget::Value => a.value.cmp(&b.value),
                }
            });
        }
        if self.limit > 0 && result.kvs.len() > self.limit {
            result.kvs.truncate(self.limit);
            result.more = true;
        }
        if self.keys_only {
            result.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        result
    }
}

/// A write. What contradicts itself is refused here already, so that of several faults in a transaction the first is
/// named.
pub fn put(request: pb::PutRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(error::invalid(validate::EMPTY_KEY));
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(error::invalid(validate::VALUE_PROVIDED));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(error::invalid(validate::LEASE_PROVIDED));
    }
    Ok(Op::Put {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// A deletion.
pub fn delete(request: pb::DeleteRangeRequest) -> Result<Op, Status> {
    Ok(Op::Delete { keys: some_keys(request.key, request.range_end)?, prev_kv: request.prev_kv })
}

/// What to do with the results of a transaction, in the shape of its branches.
#[derive(Debug, Default)]
pub struct TxnShaping {
    success: Vec<OpShaping>,
    failure: Vec<OpShaping>,
}

#[derive(Debug)]
enum OpShaping {
    Plain,
    Range(Shaping),
    Txn(TxnShaping),
}

/// A transaction, and what to do with its result.
pub fn txn(request: pb::TxnRequest, ops_max: usize, depth: usize) -> Result<(Txn, TxnShaping), Status> {
    let lengths = [request.compare.len(), request.success.len(), request.failure.len()];
    if lengths.into_iter().any(|length| length > ops_max) || depth > store_client::limits::TXN_DEPTH_MAX {
        return Err(error::invalid(validate::TOO_MANY_OPS));
    }
    let compare = request.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let (success, success_shaping) = branch(request.success, ops_max, depth)?;
    let (failure, failure_shaping) = branch(request.failure, ops_max, depth)?;
    let shaping = TxnShaping { success: success_shaping, failure: failure_shaping };
    Ok((Txn { compare, success, failure }, shaping))
}

fn branch(
    requests: Vec<pb::RequestOp>,
    ops_max: usize,
    depth: usize,
) -> Result<(Vec<Op>, Vec<OpShaping>), Status> {
    use pb::request_op::Request;
    let mut ops = Vec::with_capacity(requests.len());
    let mut shapings = Vec::with_capacity(requests.len());
    for request in requests {
        let (op, shaping) = match request.request {
            Some(Request::RequestRange(request)) => {
                let (range, shaping) = range(request)?;
                (Op::Range(range), shaping.map_or(OpShaping::Plain, OpShaping::Range))
            }
            Some(Request::RequestPut(request)) => (put(request)?, OpShaping::Plain),
            Some(Request::RequestDeleteRange(request)) => (delete(request)?, OpShaping::Plain),
            Some(Request::RequestTxn(request)) => {
                let (txn, shaping) = txn(request, ops_max, depth + 1)?;
                (Op::Txn(txn), OpShaping::Txn(shaping))
            }
            None => return Err(error::invalid(validate::EMPTY_KEY)),
        };
        ops.push(op);
        shapings.push(shaping);
    }
    Ok((ops, shapings))
}

fn compare(request: pb::Compare) -> Result<Compare, Status> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let invalid = |_| error::invalid("invalid compare");
    let order = match CompareResult::try_from(request.result).map_err(invalid)? {
        CompareResult::Equal => Order::Equal,
        CompareResult::Greater => Order::Greater,
        CompareResult::Less => Order::Less,
        CompareResult::NotEqual => Order::NotEqual,
    };
    let kind = CompareTarget::try_from(request.target).map_err(invalid)?;
    // A target of another kind than announced counts as the zero of the announced kind, as in etcd.
    let target = match (kind, request.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => Target::Version(version),
        (CompareTarget::Version, _) => Target::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(revision))) => {
            Target::CreateRevision(Revision(revision))
        }
        (CompareTarget::Create, _) => Target::CreateRevision(Revision(0)),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(revision))) => {
            Target::ModRevision(Revision(revision))
        }
        (CompareTarget::Mod, _) => Target::ModRevision(Revision(0)),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Target::Value(value),
        (CompareTarget::Value, _) => Target::Value(Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => Target::Lease(LeaseId(lease)),
        (CompareTarget::Lease, _) => Target::Lease(LeaseId(0)),
    };
    Ok(Compare { keys: some_keys(request.key, request.range_end)?, target, order })
}

/// A key with its value.
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// An answer to a read.
pub fn range_response(header: Option<pb::ResponseHeader>, result: RangeResult) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: result.kvs.into_iter().map(key_value).collect(),
        more: result.more,
        count: result.count,
    }
}

/// An answer to a transaction. Answers inside it carry only the revision, as in etcd.
pub fn txn_response(
    header: Option<pb::ResponseHeader>,
    result: TxnResult,
    shaping: &TxnShaping,
) -> pb::TxnResponse {
    let changed = result.results.iter().any(changes);
    let mut progress =
        Progress { reached: Revision(result.revision.0 - i64::from(changed)), last: result.revision };
    progress.txn(header, result, shaping)
}

/// Whether an operation changed a key.
fn changes(result: &OpResult) -> bool {
    match result {
        OpResult::Range(_) => false,
        OpResult::Put { .. } => true,
        OpResult::Delete { deleted, .. } => *deleted > 0,
        OpResult::Txn(nested) => nested.results.iter().any(changes),
    }
}

/// How far a transaction has come when an operation inside it is answered: the revision it makes exists from its first
/// change on.
struct Progress {
    reached: Revision,
    last: Revision,
}

impl Progress {
    fn txn(
        &mut self,
        header: Option<pb::ResponseHeader>,
        result: TxnResult,
        shaping: &TxnShaping,
    ) -> pb::TxnResponse {
        let shapings = if result.succeeded { &shaping.success } else { &shaping.failure };
        let responses = result.results.into_iter().zip(shapings);
        pb::TxnResponse {
            header,
            succeeded: result.succeeded,
            responses: responses.map(|(result, shaping)| self.op(result, shaping)).collect(),
        }
    }

    fn op(&mut self, result: OpResult, shaping: &OpShaping) -> pb::ResponseOp {
        use pb::response_op::Response;
        if changes(&result) && !matches!(result, OpResult::Txn(_)) {
            self.reached = self.last;
        }
        let header = Some(pb::ResponseHeader { revision: self.reached.0, ..Default::default() });
        let response = match result {
            OpResult::Range(result) => {
                let result = match shaping {
                    OpShaping::Range(shaping) => shaping.apply(result),
                    OpShaping::Plain | OpShaping::Txn(_) => result,
                };
                Response::ResponseRange(range_response(header, result))
            }
            OpResult::Put { prev_kv } => {
                Response::ResponsePut(pb::PutResponse { header, prev_kv: prev_kv.map(key_value) })
            }
            OpResult::Delete { deleted, prev_kvs } => {
                Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                    header,
                    deleted,
                    prev_kvs: prev_kvs.into_iter().map(key_value).collect(),
                })
            }
            OpResult::Txn(nested) => {
                let plain = TxnShaping::default();
                let shaping = match shaping {
                    OpShaping::Txn(shaping) => shaping,
                    OpShaping::Plain | OpShaping::Range(_) => &plain,
                };
                // Not even the revision: that of the whole transaction counts, as in etcd.
                Response::ResponseTxn(self.txn(Some(pb::ResponseHeader::default()), nested, shaping))
            }
        };
        pb::ResponseOp { response: Some(response) }
    }
}
