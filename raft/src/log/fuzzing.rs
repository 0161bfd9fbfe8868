//! Where the fuzz target of the log reaches its recovery: a directory with a segment that holds anything.

use std::sync::Arc;

use bytes::Bytes;

use super::journal::Place;
use super::layout::{self, Head, Kind, Stamp, Truncation};
use super::recovery;
use crate::codec;
use crate::disk::{Disk, SimDisk};
use crate::entry::{Entry, Payload};
use crate::record::{LogId, Owner, Vote};

const OWNER: Owner = Owner { cluster: 1, member: 2 };
const CACHE_BYTES: usize = 1 << 16;
const SEGMENT_BYTES: u64 = 1 << 16;

/// Opens a log with a segment. The first byte of the input says whether the rest is the segment's bytes, or records to be sealed
/// as the log seals them: a byte for the kind, two with the length of the body, the body; the body of entries is again
/// two bytes with a length and an entry, any number of times. What opens must open again, the same.
pub(crate) fn segment(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let content = if how % 2 == 0 { rest.to_vec() } else { sealed(rest) };
    let disk = SimDisk::default();
    let place = place(&disk);
    drop(recovery::open(&place, OWNER, CACHE_BYTES).expect("an empty disk opens"));
    let path = place.path(&layout::segment_name(1));
    let file = disk.create(&path).expect("the directory is there");
    file.write_at(0, &content).expect("there is space");
    file.sync().expect("the disk is sound");
    let found = |opened: &recovery::Opened| (opened.memory.last, opened.memory.vote, opened.memory.purged);
    let Ok(opened) = recovery::open(&place, OWNER, CACHE_BYTES) else { return };
    let first = found(&opened);
    drop(opened);
    let again = recovery::open(&place, OWNER, CACHE_BYTES).expect("it did open");
    assert_eq!(found(&again), first, "what was read once reads the same again");
}

fn place(disk: &SimDisk) -> Place {
    let disk = Arc::new(disk.clone());
    Place { disk, directory: "/log".into(), segment_bytes: SEGMENT_BYTES, reserve_bytes: 0 }
}

fn sealed(mut bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut chain) = (Vec::new(), 0);
    for sequence in 1.. {
        let Some(([kind, low, high], rest)) = bytes.split_first_chunk::<3>() else { break };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        let Some(kind) = Kind::from_number(u32::from(*kind)) else { break };
        bytes = rest;
        let stamp = Stamp { number: 1, sequence, durable: sequence - 1, life: 1 };
        // What comes after a truncation continues the chain from there.
        if kind == Kind::Truncation
            && let Ok(truncation) = codec::decode::<Truncation>(body)
        {
            chain = truncation.chain;
        }
        let entries = match kind {
            Kind::Entry => entry(body).map(|entry| vec![entry]),
            Kind::Entries => entries(body),
            _ => None,
        };
        layout::write_record(&mut out, stamp, kind, |out| match (&entries, kind) {
            (None, _) => out.extend(body),
            (Some(entries), Kind::Entry) => {
                entries.iter().for_each(|entry| chain = layout::seal(entry, chain, out));
            }
            (Some(entries), _) => {
                entries.iter().for_each(|entry| chain = layout::seal_beside(entry, chain, out));
            }
        });
    }
    out
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    Entry::decode(&Bytes::copy_from_slice(bytes)).ok()
}

fn entries(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (one, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        entries.push(entry(one)?);
        bytes = rest;
    }
    Some(entries)
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("seeds are small");
    [&length.to_le_bytes(), bytes].concat()
}

/// Logs that somebody meant, and the bytes of one.
pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let bytes_of = |index| {
        let payload = Payload::Command(Bytes::from_static(b"command"));
        codec::encode(&Entry { id: LogId { term: 1, index }, payload }.as_record())
    };
    let entry = |index| (Kind::Entry, bytes_of(index));
    let entries = |indexes: std::ops::Range<u64>| {
        (Kind::Entries, indexes.flat_map(|index| with_length(&bytes_of(index))).collect())
    };
    let head = (Kind::Head, codec::encode(&Head::default()));
    let vote = (Kind::Vote, codec::encode(&Vote { term: 1, member: 2, committed: true }));
    let first = LogId { term: 1, index: 0 };
    let committed = (Kind::Committed, codec::encode(&first));
    let purge = (Kind::Purge, codec::encode(&first));
    let truncation = (Kind::Truncation, codec::encode(&Truncation { last: None, chain: 0 }));
    let records = |records: &[(Kind, Vec<u8>)]| {
        let record = |(kind, body): &(Kind, Vec<u8>)| [vec![*kind as u8], with_length(body)].concat();
        records.iter().flat_map(record).collect::<Vec<u8>>()
    };
    let long = records(&[head.clone(), vote.clone(), entry(0), entries(1..4), committed, purge, entry(4)]);
    let short = records(&[head, vote, entries(0..2), truncation, entries(0..3)]);
    let raw = [&[0], &sealed(&long)[..]].concat();
    vec![[&[1], &long[..]].concat(), [&[1], &short[..]].concat(), raw]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_logs_that_open() {
        for seed in segment_seeds() {
            let content = if seed[0] == 0 { seed[1..].to_vec() } else { sealed(&seed[1..]) };
            let disk = SimDisk::default();
            let place = place(&disk);
            drop(recovery::open(&place, OWNER, CACHE_BYTES).unwrap());
            let file = disk.create(&place.path(&layout::segment_name(1))).unwrap();
            file.write_at(0, &content).unwrap();
            let opened = recovery::open(&place, OWNER, CACHE_BYTES).unwrap();
            assert!(opened.memory.last.is_some());
        }
    }
}
