//! Where fuzz targets reach what is private: requests of clients, as they arrive, and backups. Not part of the API.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::{Buf, Bytes};
use prost::Message;
use proto::etcd::etcdserverpb as pb;
use sha2::{Digest, Sha256};
use store_client::{Txn, validate};

use crate::backup::directory::{Directory, Manifest, Part, Retention};
use crate::backup::export::{Origin, export};
use crate::backup::image::{Decoder, HEADER_BYTES};
use crate::engine::Engine;
use crate::mvcc::hash::Content;
use crate::mvcc::layout;
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

/// An image, read from end to end as before a restore. The first byte says whether its checksums are made to match first.
pub fn image(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let content = if how % 2 == 0 { rest.to_vec() } else { resealed(rest.to_vec()) };
    let Ok(mut decoder) = Decoder::new(&content[..]) else { return };
    let header = decoder.header();
    let mut state = Content::new(header.compacted, header.revision);
    while let Ok(Some(entries)) = decoder.chunk() {
        for (key, value) in entries {
            if key.first() == Some(&layout::VERSIONS) && state.push(&key, &value).is_err() {
                return;
            }
        }
    }
    let _found = (state.hash(), state.keys());
}

/// Makes the checksums of an image match, as far as it looks like one; its layout is told in [`image`](crate::backup::image).
fn resealed(mut image: Vec<u8>) -> Vec<u8> {
    let word = |image: &[u8], at: usize| {
        image.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
    };
    if image.len() < HEADER_BYTES {
        return image;
    }
    let mut at = HEADER_BYTES;
    for number in 0_u64.. {
        let Some(length) = word(&image, at) else { break };
        let end = at + 8 + length as usize;
        let Some(payload) = image.get(at + 8..end) else { break };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), payload);
        image[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
        if length == 0 {
            break;
        }
    }
    image.truncate(at);
    image.resize(at.next_multiple_of(512), 0);
    let bytes = image.len() as u64 + 32;
    image[72..80].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32c::crc32c(&image[..HEADER_BYTES - 4]);
    image[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let digest = Sha256::digest(&image);
    image.extend_from_slice(&digest);
    image
}

/// The image of an engine, as it is and to be sealed again.
pub fn image_seeds(engine: &dyn Engine) -> Vec<Vec<u8>> {
    let origin = Origin { cluster_id: 1, member_id: 2, made_unix_ms: 1_700_000_000_000 };
    let mut image = Vec::new();
    let made = export(engine.reader().as_ref(), origin, &mut |bytes, _| {
        image.extend_from_slice(&bytes);
        ControlFlow::Continue(())
    });
    let header = made.expect("the engine can be read").expect("nobody ended it");
    assert_eq!(header.bytes, image.len() as u64);
    assert_eq!(resealed(image.clone()), image, "sealed again it is the same");
    [0, 1].map(|how| [&[how], &image[..]].concat()).into()
}

/// A manifest in a directory of backups, which is made in an empty one: what is done with it stays inside of it.
pub fn manifest(bytes: &[u8], around: &Path) {
    let root = around.join("backups");
    let directory = Directory::open(&root).expect("it is empty");
    let path = root.join("backups").join("00000000000001-1.json");
    std::fs::write(path, bytes).expect("there is space");
    let file = root.join("files").join("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    std::fs::write(file, b"").expect("there is space");
    let mut wrong = 0;
    let whole = directory.verify(|_, _| wrong += 1).expect("the directory can be read");
    assert!(whole == 1 || wrong > 0, "it is whole, or something is said");
    // A manifest that cannot be read keeps files: whatever belongs to it may be among them.
    let _kept = directory.retain(Retention::Count(1), 0).expect("there is one");
    let names = std::fs::read_dir(around).expect("it is there").count();
    assert_eq!(names, 1, "something was written beside the directory");
}

/// Manifests of a backup without files, of one with an empty file, and of one that would leave the directory.
pub fn manifest_seeds() -> Vec<Vec<u8>> {
    let part = |name: &str, sha256: &str| Part {
        name: name.to_owned(),
        size: 0,
        sha256: sha256.to_owned(),
        place: (7, 1_700_000_000, 0),
    };
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let lists = [
        vec![],
        vec![part("000007.sst", empty)],
        vec![part("../outside", empty), part("CURRENT", "../../x")],
    ];
    let manifest = |files| Manifest {
        format: 1,
        cluster_id: 1,
        member_id: 2,
        made_unix_ms: 1_700_000_000_000,
        revision: 7,
        compacted: 3,
        files,
    };
    lists.map(|files| serde_json::to_vec(&manifest(files)).expect("plain fields")).into()
}
