//! Where fuzz targets reach what is private: decoders of bytes from peers and from the disk. Not part of the API.

use std::path::Path;

use bytes::Bytes;
use proto::raft::SnapshotChunk;

use crate::adapter;
use crate::codec;
use crate::entry::{Entry, Payload};
use crate::log::fuzzing as log;
use crate::record::{LogId, Owner, Position, Vote};
use crate::snapshot::Receiver;

/// A frame of a peer.
pub fn peer_frame(bytes: &[u8]) {
    adapter::fuzzing::frame(bytes);
}

/// One frame of each kind.
pub fn peer_frame_seeds() -> Vec<Vec<u8>> {
    adapter::fuzzing::seeds()
}

/// What the log holds.
pub fn log_record(bytes: &[u8]) {
    let buffer = Bytes::copy_from_slice(bytes);
    if let Ok(entry) = Entry::decode(&buffer) {
        let again = Entry::decode(&codec::encode(&entry.as_record()).into());
        assert_eq!(again.as_ref(), Ok(&entry), "what is understood is written");
    }
    let _vote = codec::decode_owned::<Vote>(bytes);
    let _owner = codec::decode_owned::<Owner>(bytes);
    let _position = codec::decode_owned::<Position>(bytes);
}

/// One record of each kind.
pub fn log_record_seeds() -> Vec<Vec<u8>> {
    let id = LogId { term: 1, index: 7 };
    let entry = Entry { id, payload: Payload::Command(Bytes::from_static(b"command")) };
    vec![
        codec::encode(&entry.as_record()),
        codec::encode(&Vote { term: 3, member: 1, committed: true }),
        codec::encode(&Owner { cluster: 1, member: 2 }),
        codec::encode(&Position { applied: Some(id), ..Position::default() }),
    ]
}

/// A segment of the log, as it lies on the disk.
pub fn log_segment(bytes: &[u8]) {
    log::segment(bytes);
}

/// Segments that somebody meant.
pub fn log_segment_seeds() -> Vec<Vec<u8>> {
    log::segment_seeds()
}

/// Takes the chunks of a snapshot until one is refused.
pub fn snapshot(image: &Path, chunks: &[SnapshotChunk]) {
    let mut receiver = Receiver::new(image.to_owned()).expect("the place is empty");
    let _first_refused = chunks.iter().try_for_each(|chunk| receiver.take(chunk));
}
