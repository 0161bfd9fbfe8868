//! What crosses the network: frames of peers, requests of clients. The first byte of an input picks the kind.

use bytes::Bytes;
use prost::Message;
use proto::etcd::etcdserverpb as pb;

/// A frame of a peer, taken through every conversion before it reaches the consensus.
pub fn peer_frame(bytes: &[u8]) {
    raft::fuzzing::peer_frame(bytes);
}

/// One of each kind.
pub fn peer_frame_seeds() -> Vec<Vec<u8>> {
    raft::fuzzing::peer_frame_seeds()
}

/// A request of an etcd client, taken through conversion and validation.
pub fn client_request(bytes: &[u8]) {
    store::fuzzing::request(bytes);
}

/// One of each kind.
pub fn client_request_seeds() -> Vec<Vec<u8>> {
    let (key, range_end) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let range = pb::RangeRequest {
        key: key.clone(),
        range_end: range_end.clone(),
        limit: 5,
        sort_order: 2,
        ..Default::default()
    };
    let put =
        pb::PutRequest { key: key.clone(), value: "v".into(), lease: 7, prev_kv: true, ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: key.clone(), range_end: range_end.clone(), prev_kv: true };
    let compare = pb::Compare {
        key: key.clone(),
        target: 2,
        target_union: Some(pb::compare::TargetUnion::ModRevision(3)),
        ..Default::default()
    };
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let nested = pb::TxnRequest { success: vec![op(Request::RequestPut(put.clone()))], ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put.clone())), op(Request::RequestTxn(nested))],
        failure: vec![
            op(Request::RequestRange(range.clone())),
            op(Request::RequestDeleteRange(delete.clone())),
        ],
    };
    let create =
        pb::WatchCreateRequest { key, range_end, start_revision: 3, filters: vec![1], ..Default::default() };
    let watch =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let kinds = [
        range.encode_to_vec(),
        put.encode_to_vec(),
        delete.encode_to_vec(),
        txn.encode_to_vec(),
        watch.encode_to_vec(),
    ];
    (0_u8..).zip(kinds).map(|(kind, request)| [&[kind][..], &request].concat()).collect()
}
