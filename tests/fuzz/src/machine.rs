//! Logs of any commands: applying them must not panic, and two machines that apply the same, in other batches, agree
//! (invariant S5).
//!
//! An input is a list of commands, each behind its length as two bytes.

use std::sync::Arc;

use bytes::Bytes;
use raft::{Batch, Committed, LogIndex, StateMachine, StateMachineError, Term};
use store::engine::memory::MemoryEngine;
use store::machine::{Machine, command::Command};
use store_client::Revision;

/// Applies commands as one batch from an index on.
pub fn apply(machine: &Machine, commands: &[Bytes], first: u64) -> Result<Vec<Bytes>, StateMachineError> {
    let committed = commands.iter().zip(first..).map(|(command, index)| Committed {
        index: LogIndex(index),
        term: Term(1),
        command: command.clone(),
    });
    let position = Bytes::copy_from_slice(&(first + commands.len() as u64).to_le_bytes());
    machine.apply(Batch { commands: committed.collect(), position })
}

fn commands(mut bytes: &[u8]) -> Vec<Bytes> {
    let mut commands = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let Some((command, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
            break;
        };
        bytes = rest;
        let command = Bytes::copy_from_slice(command);
        // What cannot be decoded stops a member; that it is found is another target's matter.
        if Command::decode(&command).is_ok() {
            commands.push(command);
        }
    }
    commands
}

/// Applies the commands one by one, and all at once.
pub fn run(bytes: &[u8]) {
    let commands = commands(bytes);
    let machine = || Machine::open(Arc::new(MemoryEngine::new())).expect("an empty engine opens");
    let (single, whole) = (machine(), machine());
    let mut answers = Vec::new();
    for (command, index) in commands.iter().zip(1..) {
        let before = single.facts();
        answers.extend(
            apply(&single, std::slice::from_ref(command), index).expect("every command has an answer"),
        );
        let after = single.facts();
        assert!(after.revision >= before.revision && after.revision <= before.revision + 1, "S1");
    }
    let together = apply(&whole, &commands, 1).expect("every command has an answer");
    assert_eq!(answers, together, "S5: the same answers");
    assert_eq!(single.facts(), whole.facts(), "S5: the same revision");
    let hash = |machine: &Machine| machine.hash(Revision(0)).ok().map(|(hash, _)| hash);
    assert_eq!(hash(&single), hash(&whole), "S5: the same content");
}

/// Logs that somebody meant.
pub fn seeds() -> Vec<Vec<u8>> {
    let commands: Vec<Vec<u8>> = crate::records::commands()
        .into_iter()
        .map(|command| {
            let command = command.encode().expect("seeds are small");
            let length = u16::try_from(command.len()).expect("seeds are small");
            [&length.to_le_bytes()[..], &command].concat()
        })
        .collect();
    vec![commands.concat(), commands[..3].concat(), commands[3..].concat()]
}
