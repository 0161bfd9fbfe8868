//! Where fuzz targets reach what is private: requests of clients, as they arrive. Not part of the API.

use bytes::{Buf, Bytes};
use prost::Message;
use proto::etcd::etcdserverpb as pb;
use store_client::{Txn, validate};

use crate::service::convert;

/// Operations in one transaction, as etcd's default.
const OPS_MAX: usize = 128;

/// Takes a request through conversion and validation; the first byte picks its kind.
pub fn request(bytes: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    if bytes.is_empty() {
        return;
    }
    let kind = bytes.get_u8();
    match kind % 5 {
        0 => {
            let Ok(request) = pb::RangeRequest::decode(bytes) else { return };
            if let Ok((range, _shaping)) = convert::range(request) {
                let _checked = validate::range(&range);
            }
        }
        1 => {
            let Ok(request) = pb::PutRequest::decode(bytes) else { return };
            let Ok(put) = convert::put(request) else { return };
            let txn = Txn { success: vec![put], ..Txn::default() };
            let _checked = validate::txn(&txn);
        }
        2 => {
            let Ok(request) = pb::DeleteRangeRequest::decode(bytes) else { return };
            if let Ok(op) = convert::delete(request) {
                let _checked = validate::txn(&Txn { success: vec![op], ..Txn::default() });
            }
        }
        3 => {
            let Ok(request) = pb::TxnRequest::decode(bytes) else { return };
            if let Ok((txn, _shaping)) = convert::txn(request, OPS_MAX, 0) {
                let _checked = validate::txn(&txn);
            }
        }
        _ => {
            let Ok(request) = pb::WatchRequest::decode(bytes) else { return };
            if let Some(pb::watch_request::RequestUnion::CreateRequest(create)) = request.request_union {
                let _checked = validate::keys(&convert::keys(create.key, create.range_end));
            }
        }
    }
}
