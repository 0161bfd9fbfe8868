//! A state that holds anything, as after damage that no checksum found: opening and reading it may fail, and must say so.
//!
//! An input is a list of records: a byte with the length of the key, the key, a byte with the length of the value, the
//! value.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use raft::StateMachine;
use store::engine::{Batch, Engine, Pace, memory::MemoryEngine};
use store::machine::Machine;
use store_client::{KeyRange, Range, Revision};

use crate::machine;

fn split<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (piece, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(piece)
}

/// Opens a machine on the records and reads everything there is.
pub fn run(mut bytes: &[u8]) {
    let mut batch = Batch::default();
    while let Some((key, value)) = split(&mut bytes).zip(split(&mut bytes)) {
        batch.put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }
    let engine = MemoryEngine::new();
    engine.write(&batch).expect("memory takes every record");
    let Ok(machine) = Machine::open(Arc::new(engine)) else { return };
    let all = Range::new(KeyRange::From(Bytes::from_static(b"\0")));
    for revision in [0, 1, machine.facts().revision] {
        let _kvs = machine.range(&Range { revision: Revision(revision), ..all.clone() }, Pace::Patient);
        let _hash = machine.hash(Revision(revision));
    }
    let _leases = machine.leases();
    let _position = machine.position();
    let _more = machine.scrub_step();
    for command in crate::records::commands() {
        let Ok(_answers) = machine::apply(&machine, &[command.encode().expect("seeds are small")], 1) else {
            return;
        };
    }
}

/// What a machine wrote after some commands.
pub fn seeds() -> Vec<Vec<u8>> {
    let engine = Arc::new(MemoryEngine::new());
    let machine = Machine::open(engine.clone()).expect("an empty engine opens");
    let mut seeds = Vec::new();
    for (at, command) in crate::records::commands().into_iter().enumerate() {
        let command = command.encode().expect("seeds are small");
        machine::apply(&machine, &[command], at as u64 + 1).expect("memory takes every record");
        seeds.push(dump(engine.as_ref()));
    }
    seeds
}

fn dump(engine: &MemoryEngine) -> Vec<u8> {
    let reader = engine.reader();
    let mut cursor = reader.cursor(&[], &[0xff]);
    let mut out = BytesMut::new();
    cursor.seek(&[]).expect("memory can be read");
    while let Some((key, _)) = cursor.entry() {
        let value = cursor.value().expect("memory can be read");
        for piece in [key, &value] {
            out.extend([u8::try_from(piece.len()).expect("seeds are small")]);
            out.extend(piece);
        }
        cursor.next().expect("memory can be read");
    }
    out.to_vec()
}
