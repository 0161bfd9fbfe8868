//! Closed-loop work on a store: puts, reads and transactions of 8 byte keys and 256 byte values.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use proto::etcd::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op,
};
use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::{
    grpc,
    limits::STORE_CONNECTIONS_MAX,
    load::{self, Load, Until},
    wire::{Connection, Target},
};

/// Distinct keys that are written, of 8 bytes each.
pub const KEYS: u64 = 100_000;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 256;
/// Bytes of the largest value that [`value`] makes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Random bytes that values are cut from: so many that those which stand side by side in a store have nothing in common.
const RANDOM_BYTES: usize = 16 << 20;

/// Puts from this many clients, spread over all members.
pub async fn put(
    targets: &[Target],
    servers: &[u32],
    clients: usize,
    limit: Duration,
) -> anyhow::Result<Load> {
    fill(targets, servers, clients, Until::Elapsed(limit), VALUE_BYTES, key).await
}

/// Puts of values of this size under keys of the caller's choice.
pub async fn fill(
    targets: &[Target],
    servers: &[u32],
    clients: usize,
    until: Until,
    value_bytes: usize,
    key: impl Fn(u64) -> Bytes,
) -> anyhow::Result<Load> {
    let connections = &connect(targets, clients).await?;
    let put = |client: usize, number: u64| {
        let request =
            PutRequest { key: key(number), value: value(number, value_bytes), ..PutRequest::default() };
        let frame = grpc::frame(&request);
        async move { grpc::call(&connections[client % connections.len()], grpc::PUT, frame).await.map(drop) }
    };
    load::run(servers, clients, until, put).await
}

/// Reads of one key each, spread over all members.
pub async fn range(
    targets: &[Target],
    servers: &[u32],
    clients: usize,
    serializable: bool,
    limit: Duration,
) -> anyhow::Result<Load> {
    let connections = &connect(targets, clients).await?;
    let range = |client: usize, number: u64| {
        let request = RangeRequest { key: key(number), serializable, ..RangeRequest::default() };
        let frame = grpc::frame(&request);
        async move { grpc::call(&connections[client % connections.len()], grpc::RANGE, frame).await.map(drop) }
    };
    load::run(servers, clients, Until::Elapsed(limit), range).await
}

/// Transactions as Kubernetes writes: put if the revision is as expected, else get. Half of them find the key unborn.
pub async fn txn(
    targets: &[Target],
    servers: &[u32],
    clients: usize,
    limit: Duration,
) -> anyhow::Result<Load> {
    let connections = &connect(targets, clients).await?;
    let txn = |client: usize, number: u64| {
        let key = Bytes::from([b"k".as_slice(), &(number / 2).to_be_bytes()].concat());
        let frame = grpc::frame(&create(key, value(number, VALUE_BYTES)));
        async move { grpc::call(&connections[client % connections.len()], grpc::TXN, frame).await.map(drop) }
    };
    load::run(servers, clients, Until::Elapsed(limit), txn).await
}

fn create(key: Bytes, value: Bytes) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(0)),
        ..Compare::default()
    };
    let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
    let get = RangeRequest { key, ..RangeRequest::default() };
    let op = |request| vec![RequestOp { request: Some(request) }];
    TxnRequest {
        compare: vec![compare],
        success: op(request_op::Request::RequestPut(put)),
        failure: op(request_op::Request::RequestRange(get)),
    }
}

/// Connections that clients share, spread over all members.
pub async fn connect(targets: &[Target], clients: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for target in targets.iter().cycle().take(clients.min(STORE_CONNECTIONS_MAX)) {
        connections.push(Connection::open(target).await?);
    }
    Ok(connections)
}

/// A key of 8 bytes; neighbours in time are far apart in the key space.
pub fn key(number: u64) -> Bytes {
    // Knuth's multiplicative hash visits the key space without a pattern that a store could profit from.
    let spread = number.wrapping_mul(2_654_435_761) % KEYS;
    Bytes::copy_from_slice(&spread.to_be_bytes())
}

/// A value of up to [`VALUE_BYTES_MAX`], other than those before and after it, and nothing that could be compressed: a store that
/// compresses would otherwise be measured by what nobody stores.
pub fn value(number: u64, bytes: usize) -> Bytes {
    static RANDOM: LazyLock<Bytes> = LazyLock::new(|| {
        let mut bytes = vec![0; RANDOM_BYTES + VALUE_BYTES_MAX];
        StdRng::seed_from_u64(0).fill_bytes(&mut bytes);
        bytes.into()
    });
    let start = number.wrapping_mul(2_654_435_761) as usize % RANDOM_BYTES;
    RANDOM.slice(start..start + bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_eight_bytes_and_repeat_after_the_whole_space() {
        let all: std::collections::BTreeSet<Bytes> = (0..KEYS).map(key).collect();
        assert_eq!(all.len() as u64, KEYS);
        assert!(all.iter().all(|key| key.len() == 8));
    }
}
