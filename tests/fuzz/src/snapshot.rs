//! The files of a snapshot as a peer sends them: whatever it sends, nothing is written outside of the image.
//!
//! An input is a list of chunks, each behind its length as two bytes, as protobuf writes them.

use bytes::Bytes;
use prost::Message;
use proto::raft::SnapshotChunk;

/// Takes the chunks.
pub fn stream(mut bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let image = directory.path().join("image");
    let mut chunks = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let Some((chunk, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
            break;
        };
        bytes = rest;
        let Ok(chunk) = SnapshotChunk::decode(chunk) else { break };
        chunks.push(chunk);
    }
    raft::fuzzing::snapshot(&image, &chunks);
    let around = std::fs::read_dir(directory.path()).expect("it is there").count();
    assert!(around <= 1, "something was written beside the image");
}

/// A whole image, and pieces of it.
pub fn seeds() -> Vec<Vec<u8>> {
    let data = Bytes::from_static(b"content");
    let file = |name: &str, last| SnapshotChunk {
        file: name.into(),
        data: data.clone(),
        last,
        crc32c: 0x9a71_bb4c,
        ..SnapshotChunk::default()
    };
    let end = |files| SnapshotChunk { offset: files, last: true, ..SnapshotChunk::default() };
    let more = SnapshotChunk { offset: 7, last: true, ..file("CURRENT", true) };
    let lists = [
        vec![file("CURRENT", true), file("deep/1.sst", true), end(2)],
        vec![file("CURRENT", false), more, end(1)],
        vec![end(0)],
        vec![file("../outside", true), end(1)],
        vec![file("/tmp/outside", true), end(1)],
    ];
    let framed = |chunk: &SnapshotChunk| {
        let bytes = chunk.encode_to_vec();
        [&u16::try_from(bytes.len()).expect("seeds are small").to_le_bytes()[..], &bytes].concat()
    };
    lists.iter().map(|list| list.iter().flat_map(framed).collect()).collect()
}
