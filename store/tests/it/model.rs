//! The state machine against the model in memory: the same commands must give the same answers, the same content at
//! every revision and the same watches, however commands are cut into batches and whatever was removed meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use raft::StateMachine;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use store::engine::{Engine, memory::MemoryEngine, reluctant::Reluctant};
use store::machine::{command::Command, response::Response};
use store::mvcc::layout::{self, Version};
use store_client::memory::MemoryKv;
use store_client::{
    Compare, Error, KeyRange, Kv, LeaseId, Op, Order, Range, Revision, Target, Txn, Watch, WatchMessage,
    validate,
};

use crate::local::Local;

const KEYS: [&str; 8] = ["a", "a/1", "a/2", "a\0", "b", "b/1", "\0", "\u{7f}"];

struct Chance(StdRng);

impl Chance {
    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS.choose(&mut self.0).unwrap().as_bytes())
    }

    fn keys(&mut self) -> KeyRange {
        match self.0.random_range(0..5) {
            0 | 1 => KeyRange::Key(self.key()),
            2 => KeyRange::prefix(self.key()),
            3 => KeyRange::Interval { start: self.key(), end: self.key() },
            _ => KeyRange::From(self.key()),
        }
    }

    fn lease(&mut self) -> LeaseId {
        LeaseId(if self.0.random_bool(0.3) { self.0.random_range(1..5) } else { 0 })
    }

    fn range(&mut self, newest: i64) -> Range {
        let revision = if self.0.random_bool(0.3) { self.0.random_range(0..newest + 2) } else { 0 };
        Range {
            keys: self.keys(),
            revision: Revision(revision),
            limit: self.0.random_range(0..4),
            keys_only: self.0.random_bool(0.2),
            count_only: self.0.random_bool(0.2),
            serializable: false,
        }
    }

    fn compare(&mut self, newest: i64) -> Compare {
        let revision = Revision(self.0.random_range(0..newest + 1));
        let target = match self.0.random_range(0..5) {
            0 => Target::Version(self.0.random_range(0..4)),
            1 => Target::CreateRevision(revision),
            2 => Target::ModRevision(revision),
            3 => Target::Value(Bytes::from(self.0.random_range(0..5).to_string())),
            _ => Target::Lease(self.lease()),
        };
        let order =
            *[Order::Equal, Order::NotEqual, Order::Less, Order::Greater].choose(&mut self.0).unwrap();
        Compare { keys: self.keys(), target, order }
    }

    fn op(&mut self, newest: i64, depth: usize) -> Op {
        match self.0.random_range(0..10) {
            0..=4 => Op::Put {
                key: self.key(),
                value: Bytes::from(self.0.random_range(0..5).to_string()),
                lease: self.lease(),
                prev_kv: self.0.random_bool(0.5),
                ignore_value: false,
                ignore_lease: false,
            },
            5 => {
                let lease = self.0.random_bool(0.5);
                Op::Put {
                    key: self.key(),
                    value: Bytes::new(),
                    lease: LeaseId(0),
                    prev_kv: true,
                    ignore_value: !lease,
                    ignore_lease: lease,
                }
            }
            6 => Op::Delete { keys: self.keys(), prev_kv: self.0.random_bool(0.5) },
            7 | 8 => Op::Range(self.range(newest)),
            _ if depth < 2 => Op::Txn(self.txn(newest, depth + 1)),
            _ => Op::Range(self.range(newest)),
        }
    }

    fn txn(&mut self, newest: i64, depth: usize) -> Txn {
        let mut ops = |most| (0..self.0.random_range(0..=most)).map(|_| self.op(newest, depth)).collect();
        let (success, failure) = (ops(3), ops(2));
        let compare = (0..self.0.random_range(0..2)).map(|_| self.compare(newest)).collect();
        Txn { compare, success, failure }
    }
}

fn show(result: Result<impl std::fmt::Debug, Error>) -> String {
    format!("{result:?}")
}

async fn on_model(model: &MemoryKv, command: &Command) -> String {
    match command {
        Command::Txn(txn) => show(model.txn(txn.clone()).await),
        Command::Compact(revision) => show(model.compact(*revision).await),
        Command::LeaseGrant { id, ttl_s } => show(model.lease_grant(*id, *ttl_s).await.map(drop)),
        Command::LeaseRevoke(id) => show(model.lease_revoke(*id).await),
        Command::LeaseRenew(_)
        | Command::LeaseExpire { .. }
        | Command::Note { .. }
        | Command::Alarm { .. }
        | Command::Auth(_) => {
            unreachable!("not made here")
        }
    }
}

fn on_machine(command: &Command, response: Response) -> String {
    match (command, response) {
        (_, Response::Refused(refusal)) => show(Err::<(), _>(refusal)),
        (_, Response::Txn(result)) => show(Ok(result)),
        (Command::LeaseRevoke(_), Response::Done(revision)) => show(Ok(revision)),
        (_, Response::Done(_)) => show(Ok(())),
        (_, Response::Renewed(_)) => unreachable!("not made here"),
    }
}

/// What a watch of everything from `start` delivers up to a revision; there must be a change after it.
async fn watched(kv: &impl Kv, start: i64, until: i64) -> Vec<String> {
    let keys = KeyRange::From(Bytes::new());
    let watch = Watch { keys, start: Revision(start), prev_kv: true, progress: false };
    let mut stream = match kv.watch(watch).await {
        Ok(stream) => stream,
        Err(error) => return vec![format!("{error:?}")],
    };
    let mut seen = Vec::new();
    while let Some(message) = stream.next().await {
        match message {
            Ok(WatchMessage::Created { .. } | WatchMessage::Progress { .. }) => {}
            Ok(WatchMessage::Changes { revision, changes }) => {
                if revision.0 > until {
                    break;
                }
                seen.push(format!("{revision:?} {changes:?}"));
            }
            Err(error) => {
                seen.push(format!("{error:?}"));
                break;
            }
        }
    }
    seen
}

async fn compare_with_model(seed: u64) {
    let context = format!("replay with seed {seed}");
    let mut chance = Chance(StdRng::seed_from_u64(seed));
    let engine = MemoryEngine::new();
    let mut local = Local::new(Arc::new(Reluctant::new(engine.clone())));
    let model = MemoryKv::new();
    for _round in 0..40 {
        let newest = model.revision().0;
        let mut commands = Vec::new();
        for _ in 0..chance.0.random_range(1..5) {
            let command = match chance.0.random_range(0..20) {
                0 => Command::Compact(Revision(chance.0.random_range(0..newest + 2))),
                1 | 2 => Command::LeaseGrant { id: LeaseId(chance.0.random_range(1..5)), ttl_s: 1000 },
                3 => Command::LeaseRevoke(LeaseId(chance.0.random_range(1..5))),
                _ => Command::Txn(chance.txn(newest, 0)),
            };
            // What is refused before it is proposed never becomes a command.
            if !matches!(&command, Command::Txn(txn) if validate::txn(txn).is_err()) {
                commands.push(command);
            }
        }
        let responses = local.apply(&commands);
        for (command, response) in commands.iter().zip(responses) {
            assert_eq!(
                on_machine(command, response),
                on_model(&model, command).await,
                "{context}: {command:?}"
            );
        }
        if chance.0.random_bool(0.2) {
            assert!(local.machine.flush().unwrap());
            local = local.reopen();
        }
        if chance.0.random_bool(0.3) {
            while local.machine.scrub_step().unwrap() {}
        }
        for _ in 0..5 {
            let range = chance.range(model.revision().0);
            assert_eq!(show(local.range(range.clone()).await), show(model.range(range).await), "{context}");
        }
        for id in 1..5 {
            let of = |lease: store_client::Lease| (lease.granted_ttl_s, lease.keys);
            let (ours, theirs) = (
                local.lease_time_to_live(LeaseId(id), true).await.map(of),
                model.lease_time_to_live(LeaseId(id), true).await.map(of),
            );
            assert_eq!(show(ours), show(theirs), "{context}");
        }
    }
    let until = model.revision().0;
    // One change more, by which a watch knows that everything before was delivered.
    let end = Command::Txn(Txn { success: vec![Op::put("end", "")], ..Txn::default() });
    local.apply(std::slice::from_ref(&end));
    on_model(&model, &end).await;
    for start in 1..=until {
        let (ours, theirs) = (watched(&local, start, until).await, watched(&model, start, until).await);
        assert_eq!(ours, theirs, "{context}: watch from {start}");
    }
}

#[tokio::test]
async fn the_machine_agrees_with_the_model() {
    for seed in 0..128 {
        compare_with_model(seed).await;
    }
}

/// Versions that no read from the compacted revision on can see.
fn superfluous(engine: &MemoryEngine, compacted: i64) -> usize {
    let (first, last) = layout::table(layout::VERSIONS);
    let reader = engine.reader();
    let mut versions = reader.cursor(&first, &last);
    versions.seek(&first).unwrap();
    let (mut base_of, mut count) = (Vec::new(), 0);
    while let Some((entry, record)) = versions.entry() {
        let (group, revision) = layout::split_version_key(entry).unwrap();
        let deleted = matches!(Version::decode(record).unwrap(), Version::Deleted);
        if revision <= compacted {
            count += usize::from(base_of == group || (deleted && revision < compacted));
            base_of = group.to_vec();
        }
        versions.next().unwrap();
    }
    count
}

#[tokio::test]
async fn members_with_the_same_log_have_the_same_hash() {
    let mut chance = Chance(StdRng::seed_from_u64(7));
    let engine = MemoryEngine::new();
    let (one, other) = (Local::new(Arc::new(engine.clone())), Local::new(Arc::new(MemoryEngine::new())));
    let mut compacted = 0;
    for _ in 0..200 {
        let revision = one.machine.facts().revision;
        let mut commands: Vec<_> = (0..3).map(|_| Command::Txn(chance.txn(revision, 0))).collect();
        commands.retain(|command| !matches!(command, Command::Txn(txn) if validate::txn(txn).is_err()));
        if revision > compacted + 20 {
            compacted = revision - 10;
            commands.push(Command::Compact(Revision(compacted)));
        }
        let together = one.apply(&commands);
        let apart: Vec<_> = commands.into_iter().flat_map(|command| other.apply(&[command])).collect();
        assert_eq!(
            format!("{together:?}"),
            format!("{apart:?}"),
            "S5: how commands are batched does not matter"
        );
        if chance.0.random_bool(0.1) {
            while one.machine.scrub_step().unwrap() {}
            assert_eq!(superfluous(&engine, compacted), 0, "what cannot be read is removed");
        }
        assert_eq!(one.machine.hash(Revision(0)).unwrap(), other.machine.hash(Revision(0)).unwrap(), "S5");
        assert_eq!(one.machine.facts(), other.machine.facts());
    }
}
