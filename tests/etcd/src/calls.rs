//! Random calls of the etcd API, with the values that are likely to make a difference: few keys, so that they meet;
//! revisions about the newest and the compacted one; and now and then what is not allowed.

use bytes::Bytes;
use proto::etcd::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest,
    AuthRoleGrantPermissionRequest, AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest, AuthUserGrantRoleRequest,
    AuthUserListRequest, AuthUserRevokeRoleRequest, CompactionRequest, Compare, DeleteRangeRequest,
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    range_request::{SortOrder, SortTarget},
    request_op::Request,
    watch_create_request::FilterType,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// One call.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named as in the API")]
pub enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases(LeaseLeasesRequest),
    KeepAlive(i64),
    AuthEnable(AuthEnableRequest),
    AuthDisable(AuthDisableRequest),
    UserAdd(AuthUserAddRequest),
    UserGet(AuthUserGetRequest),
    UserList(AuthUserListRequest),
    UserDelete(AuthUserDeleteRequest),
    UserChangePassword(AuthUserChangePasswordRequest),
    UserGrantRole(AuthUserGrantRoleRequest),
    UserRevokeRole(AuthUserRevokeRoleRequest),
    RoleAdd(AuthRoleAddRequest),
    RoleGet(AuthRoleGetRequest),
    RoleList(AuthRoleListRequest),
    RoleDelete(AuthRoleDeleteRequest),
    RoleGrantPermission(AuthRoleGrantPermissionRequest),
    RoleRevokePermission(AuthRoleRevokePermissionRequest),
}

const KEYS: [&str; 10] = ["a", "a/1", "a/2", "a\0", "b", "b/1", "b/2", "c", "\0", "\u{7f}"];
const VALUES: [&str; 5] = ["", "1", "2", "10", "longer than the others"];
/// Long enough that none ends while calls are compared.
const TTL_S: i64 = 100_000;
/// Longer than etcd allows.
const TOO_LONG_S: i64 = 9_000_000_001;
/// Revisions kept before the newest when a call compacts, at most.
const BEHIND_MAX: i64 = 40;
const DEPTH_MAX: usize = 2;

/// A source of calls: the same seed gives the same calls.
pub struct Source {
    pub(crate) chance: StdRng,
    /// About where the store is: the newest revision that an answer has told.
    pub revision: i64,
    /// The newest revision that was compacted.
    pub compacted: i64,
    /// Whether ranges may end before they begin.
    backwards: bool,
}

impl Source {
    /// From the beginning.
    pub fn new(seed: u64) -> Self {
        Self { chance: StdRng::seed_from_u64(seed), revision: 1, compacted: 0, backwards: true }
    }

    /// Without ranges that end before they begin: whether somebody may read those, etcd finds out in a way of its own.
    pub fn forwards(seed: u64) -> Self {
        Self { backwards: false, ..Self::new(seed) }
    }

    /// The next call.
    pub fn call(&mut self) -> Call {
        match self.chance.random_range(0..100) {
            0..=24 => Call::Range(self.range()),
            25..=49 => Call::Put(self.put()),
            50..=59 => Call::Delete(self.delete()),
            60..=84 => Call::Txn(self.txn(0)),
            85..=90 => Call::Grant(self.grant()),
            91..=92 => Call::Revoke(LeaseRevokeRequest { id: self.lease() }),
            93..=95 => Call::TimeToLive(LeaseTimeToLiveRequest { id: self.lease(), keys: self.likely(0.7) }),
            96..=97 => Call::KeepAlive(self.lease()),
            _ => Call::Leases(LeaseLeasesRequest {}),
        }
    }

    /// A watch of the past or the future.
    pub fn watch(&mut self) -> WatchCreateRequest {
        let (key, range_end) = self.keys();
        let mut filters = Vec::new();
        if self.likely(0.2) {
            filters.push(*[FilterType::Noput, FilterType::Nodelete].choose(&mut self.chance).expect("two"));
        }
        WatchCreateRequest {
            // Refusals of watches are compared by a test of their own.
            key: if key.is_empty() { "a".into() } else { key },
            range_end,
            start_revision: if self.likely(0.6) { self.past() } else { 0 },
            filters: filters.into_iter().map(Into::into).collect(),
            prev_kv: self.likely(0.5),
            fragment: self.likely(0.3),
            ..Default::default()
        }
    }

    /// A compaction to some revision.
    pub fn compaction(&mut self) -> CompactionRequest {
        // Compaction to 0 is accepted by an etcd that was never compacted, once; by our store never.
        CompactionRequest { revision: self.about_now().max(1), physical: self.likely(0.5) }
    }

    pub(crate) fn likely(&mut self, probability: f64) -> bool {
        self.chance.random_bool(probability)
    }

    pub(crate) fn key(&mut self) -> Bytes {
        if self.likely(0.01) {
            return Bytes::new();
        }
        Bytes::from_static(KEYS.choose(&mut self.chance).expect("there are keys").as_bytes())
    }

    fn value(&mut self) -> Bytes {
        Bytes::from_static(VALUES.choose(&mut self.chance).expect("there are values").as_bytes())
    }

    fn lease(&mut self) -> i64 {
        self.chance.random_range(1..7)
    }

    pub(crate) fn keys(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        let end = match self.chance.random_range(0..6) {
            0..=2 => Bytes::new(),
            3 => Bytes::from_static(&[0]),
            4 => self.key(),
            _ => successor(&key),
        };
        let is_empty = !end.is_empty() && end.as_ref() != [0] && end <= key;
        if is_empty && !self.backwards { (key, Bytes::new()) } else { (key, end) }
    }

    /// A revision near the newest, before or after it. Never negative: inside transactions etcd calls that compacted,
    /// while for a range by itself it means now, as it does everywhere in our store.
    fn about_now(&mut self) -> i64 {
        (self.revision - self.chance.random_range(-3..BEHIND_MAX)).max(0)
    }

    /// Not the newest compacted revision: etcd before 3.6 forgets a deletion that was the last change there.
    fn past(&mut self) -> i64 {
        let revision = self.about_now();
        if revision == self.compacted { revision + 1 } else { revision }
    }

    fn bound(&mut self) -> i64 {
        if self.likely(0.15) { self.about_now() } else { 0 }
    }

    fn range(&mut self) -> RangeRequest {
        let (key, range_end) = self.keys();
        let sorted = self.likely(0.4);
        let sort = |number: i32| if sorted { number } else { 0 };
        RangeRequest {
            key,
            range_end,
            limit: if self.likely(0.4) { self.chance.random_range(-1..5) } else { 0 },
            revision: if self.likely(0.3) { self.about_now() } else { 0 },
            sort_order: sort(self.chance.random_range(0..=SortOrder::Descend as i32)),
            sort_target: sort(self.chance.random_range(0..=SortTarget::Value as i32)),
            serializable: self.likely(0.2),
            keys_only: self.likely(0.15),
            count_only: self.likely(0.1),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.likely(0.08);
        let ignore_lease = self.likely(0.08);
        // Now and then both at once, which is refused.
        let value = if ignore_value && self.likely(0.9) { Bytes::new() } else { self.value() };
        // Not with a value that is kept: which of two things that do not exist is named first depends on etcd's call.
        let lease = if ignore_lease && self.likely(0.9) || ignore_value || self.likely(0.7) {
            0
        } else {
            self.lease()
        };
        PutRequest { key: self.key(), value, lease, prev_kv: self.likely(0.3), ignore_value, ignore_lease }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.keys();
        DeleteRangeRequest { key, range_end, prev_kv: self.likely(0.5) }
    }

    /// One that ends somewhere: etcd does not notice that a transaction puts a key and deletes it by a range without an
    /// end, and changes it twice in one revision. Our store refuses that as it refuses all other duplicates.
    fn bounded_delete(&mut self) -> DeleteRangeRequest {
        let mut request = self.delete();
        if request.range_end.as_ref() == [0] {
            request.range_end = Bytes::new();
        }
        request
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        let ttl = if self.likely(0.05) { TOO_LONG_S } else { TTL_S };
        LeaseGrantRequest { id: self.lease(), ttl }
    }

    fn txn(&mut self, depth: usize) -> TxnRequest {
        if depth == 0 && self.likely(0.03) {
            return self.written_and_deleted();
        }
        let count = self.chance.random_range(0..3);
        let compare = (0..count).map(|_| self.compare()).collect();
        TxnRequest { compare, success: self.branch(depth), failure: self.branch(depth) }
    }

    /// What etcd refuses in one transaction, but not in two that are nested side by side.
    fn written_and_deleted(&mut self) -> TxnRequest {
        let put = self.put();
        let delete =
            DeleteRangeRequest { key: put.key.clone(), range_end: Bytes::new(), ..self.bounded_delete() };
        let nested = |request| {
            let success = vec![RequestOp { request: Some(request) }];
            let txn = TxnRequest { compare: Vec::new(), success, failure: Vec::new() };
            RequestOp { request: Some(Request::RequestTxn(txn)) }
        };
        let success = vec![nested(Request::RequestPut(put)), nested(Request::RequestDeleteRange(delete))];
        TxnRequest { compare: Vec::new(), success, failure: Vec::new() }
    }

    fn branch(&mut self, depth: usize) -> Vec<RequestOp> {
        let count = self.chance.random_range(0..4);
        (0..count).map(|_| RequestOp { request: Some(self.op(depth)) }).collect()
    }

    fn op(&mut self, depth: usize) -> Request {
        match self.chance.random_range(0..10) {
            0..=3 => Request::RequestPut(self.put()),
            4..=6 => Request::RequestRange(self.range()),
            7..=8 => Request::RequestDeleteRange(self.bounded_delete()),
            _ if depth < DEPTH_MAX => Request::RequestTxn(self.txn(depth + 1)),
            _ => Request::RequestPut(self.put()),
        }
    }

    fn compare(&mut self) -> Compare {
        let (key, end) = self.keys();
        let range_end = if self.likely(0.3) { end } else { Bytes::new() };
        let result = self.chance.random_range(0..=CompareResult::NotEqual as i32);
        let (target, union) = match self.chance.random_range(0..5) {
            0 => (CompareTarget::Version, TargetUnion::Version(self.chance.random_range(0..4))),
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(self.about_now())),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(self.about_now())),
            3 => (CompareTarget::Value, TargetUnion::Value(self.value())),
            _ => (CompareTarget::Lease, TargetUnion::Lease(self.chance.random_range(0..7))),
        };
        // Once in a while what is compared is missing.
        let target_union = if self.likely(0.03) { None } else { Some(union) };
        Compare { result, target: target.into(), key, range_end, target_union }
    }
}

/// The end of the range of all keys that begin with a key.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}
