//! Runs the golden scripts in `tests/scripts`: lines that begin with `>` are commands, the lines below are what they
//! must print. `UPDATE_SCRIPTS=1` writes what they print instead.
//!
//! | command | |
//! |---|---|
//! | `put KEY VALUE [lease=N] [prev] [keep-value] [keep-lease]` | |
//! | `get KEYS [rev=N] [limit=N] [keys] [count]` | KEYS is `key`, `prefix*`, or `from..to` |
//! | `del KEYS [prev]` | |
//! | `txn [if COND, COND] [then OP; OP] [else OP; OP]` | COND is `KEY FIELD OP NUMBER`, OP a command above |
//! | `compact N`, `scrub`, `hash`, `reopen`, `crash` | `crash` forgets what was not flushed, `flush` prevents it |
//! | `grant ID TTL`, `renew ID`, `revoke ID`, `lease ID`, `expire ID INDEX [term=N]` | |
//! | `watch NAME KEYS [start=N] [prev]`, `read NAME` | `read` prints everything there is |

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use store::engine::memory::MemoryEngine;
use store::machine::command::Command;
use store::machine::response::Response;
use store::mvcc::{diff::Difference, draft::Failure};
use store::watch::{Delivery, Subscription};
use store_client::{
    Change, ChangeKind, Compare, Error, KeyRange, KeyValue, Kv, LeaseId, Op, OpResult, Order, Range,
    RangeResult, Revision, Target, Txn, TxnResult, Watch,
};

use crate::local::{Local, TERM};

struct Script {
    engine: MemoryEngine,
    local: Local,
    watches: BTreeMap<String, Subscription>,
}

#[tokio::test]
async fn golden_scripts_print_what_they_say() {
    let directory = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/scripts");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let expect = std::fs::read_to_string(&path).unwrap();
        let got = run(&expect).await;
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, got).unwrap();
        } else {
            assert_eq!(got, expect, "{}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "there are scripts");
}

async fn run(text: &str) -> String {
    let engine = MemoryEngine::new();
    let local = Local::new(Arc::new(engine.clone()));
    let mut script = Script { engine, local, watches: BTreeMap::new() };
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            match script.command(command).await {
                Ok(printed) => out.push_str(&printed),
                Err(error) => writeln!(out, "error: {error}").unwrap(),
            }
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

impl Script {
    async fn command(&mut self, text: &str) -> Result<String, Error> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        match verb {
            "put" | "del" => {
                Ok(show_txn(&self.local.txn(Txn { success: vec![op(text)], ..Txn::default() }).await?))
            }
            "get" => {
                let Op::Range(range) = op(text) else { panic!("{text}") };
                Ok(show_range(&self.local.range(range).await?))
            }
            "txn" => Ok(show_txn(&self.local.txn(txn(rest)).await?)),
            "compact" => {
                let done = self.local.run(Command::Compact(Revision(number(0))))?;
                Ok(show_done(&done))
            }
            "note" => Ok(show_done(&self.local.run(Command::Note { unix_ms: number(0) as u64 })?)),
            "at" => Ok(match self.local.machine.noted_at(number(0) as u64).unwrap() {
                Ok(noted) => format!("@{} noted at {}\n", noted.revision, noted.unix_ms),
                Err(Some(oldest)) => format!("the oldest is @{} at {}\n", oldest.revision, oldest.unix_ms),
                Err(None) => "nothing is readable\n".to_owned(),
            }),
            "diff" => self.diff(&keys(words[0]), number(1), number(2)),
            "deleted" => {
                let mut out = String::new();
                let mut show = |kv: KeyValue| {
                    writeln!(out, "  {}", show_kv(&kv)).unwrap();
                    std::ops::ControlFlow::Continue(())
                };
                self.local.machine.deleted(&keys(words[0]), &mut show).unwrap();
                Ok(out)
            }
            "scrub" => {
                while self.local.machine.scrub_step().unwrap() {}
                Ok(String::new())
            }
            "hash" => Ok(format!("{:08x}\n", self.local.machine.hash(Revision(0)).unwrap().0)),
            "flush" => {
                raft::StateMachine::flush(self.local.machine.as_ref()).unwrap();
                Ok(String::new())
            }
            "reopen" | "crash" => {
                if verb == "crash" {
                    self.engine.crash();
                }
                self.watches.clear();
                self.local = Local::new(Arc::new(self.engine.clone()));
                Ok(format!("revision {}\n", self.local.machine.facts().revision))
            }
            "grant" => {
                let done =
                    self.local.run(Command::LeaseGrant { id: LeaseId(number(0)), ttl_s: number(1) })?;
                Ok(show_done(&done))
            }
            "revoke" => Ok(show_done(&self.local.run(Command::LeaseRevoke(LeaseId(number(0))))?)),
            "renew" => {
                let granted = self.local.lease_keep_alive(LeaseId(number(0))).await?;
                Ok(format!("ttl {}\n", granted.ttl_s))
            }
            "expire" => {
                let term = option(&words, "term").map_or(TERM, |term| term.parse().unwrap());
                let leases = vec![(LeaseId(number(0)), number(1) as u64)];
                Ok(show_done(&self.local.run(Command::LeaseExpire { term, leases })?))
            }
            "lease" => {
                let lease = self.local.lease_time_to_live(LeaseId(number(0)), true).await?;
                let known = self.local.machine.lease(lease.id, false).unwrap();
                let renewed = known.map_or(0, |(record, _)| record.renewed);
                Ok(format!("granted {} renewed {renewed} keys {:?}\n", lease.granted_ttl_s, lease.keys))
            }
            "watch" => {
                let watch = Watch {
                    keys: keys(words[1]),
                    start: Revision(option(&words, "start").map_or(0, |start| start.parse().unwrap())),
                    prev_kv: words.contains(&"prev"),
                    progress: false,
                };
                let subscription = self.local.subscribe(watch)?;
                self.watches.insert(words[0].to_owned(), subscription);
                Ok(String::new())
            }
            "read" => self.read(words[0]).await,
            other => panic!("unknown command {other}"),
        }
    }

    fn diff(&self, keys: &KeyRange, from: i64, to: i64) -> Result<String, Error> {
        let mut out = String::new();
        let mut show = |difference: Difference| {
            let side = |kv: &Option<KeyValue>| kv.as_ref().map_or("nothing".to_owned(), show_kv);
            writeln!(out, "  {} -> {}", side(&difference.before), side(&difference.after)).unwrap();
            std::ops::ControlFlow::Continue(())
        };
        match self.local.machine.diff(keys, Revision(from), Revision(to), &mut show) {
            Ok(()) => Ok(out),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Broken(error)) => panic!("{error}"),
        }
    }

    async fn read(&mut self, name: &str) -> Result<String, Error> {
        let subscription = self.watches.get_mut(name).unwrap();
        subscription.asker().ask();
        let mut out = String::new();
        loop {
            match subscription.next().await {
                None => return Ok(out + "ended\n"),
                Some(Err(error)) => writeln!(out, "error: {error}").unwrap(),
                Some(Ok(Delivery::Created(revision))) => writeln!(out, "created @{}", revision.0).unwrap(),
                Some(Ok(Delivery::Progress(_))) => return Ok(out),
                Some(Ok(Delivery::Revised(revised))) => {
                    let changes = subscription.select(&revised).await?;
                    if !changes.is_empty() {
                        let shown: Vec<_> = changes.iter().map(show_change).collect();
                        writeln!(out, "@{} {}", revised.revision.0, shown.join(", ")).unwrap();
                    }
                }
            }
        }
    }
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn keys(text: &str) -> KeyRange {
    if let Some((start, end)) = text.split_once("..") {
        return KeyRange::Interval { start: start.to_owned().into(), end: end.to_owned().into() };
    }
    match text.strip_suffix('*') {
        Some(prefix) => KeyRange::prefix(prefix.to_owned()),
        None => KeyRange::Key(text.to_owned().into()),
    }
}

fn op(text: &str) -> Op {
    let words: Vec<&str> = text.split_whitespace().collect();
    let has = |word| words.contains(&word);
    match words[0] {
        "put" => Op::Put {
            key: words[1].to_owned().into(),
            value: if has("keep-value") { "".into() } else { words[2].to_owned().into() },
            lease: LeaseId(option(&words, "lease").map_or(0, |lease| lease.parse().unwrap())),
            prev_kv: has("prev"),
            ignore_value: has("keep-value"),
            ignore_lease: has("keep-lease"),
        },
        "del" => Op::Delete { keys: keys(words[1]), prev_kv: has("prev") },
        "get" => Op::Range(Range {
            keys: keys(words[1]),
            revision: Revision(option(&words, "rev").map_or(0, |revision| revision.parse().unwrap())),
            limit: option(&words, "limit").map_or(0, |limit| limit.parse().unwrap()),
            keys_only: has("keys"),
            count_only: has("count"),
            serializable: false,
        }),
        other => panic!("unknown operation {other}"),
    }
}

fn txn(text: &str) -> Txn {
    let (text, otherwise) = text.split_once("else ").unwrap_or((text, ""));
    let (condition, then) = text.split_once("then ").unwrap_or((text, ""));
    let ops = |text: &str| text.split(';').map(str::trim).filter(|op| !op.is_empty()).map(op).collect();
    let conditions = condition.trim().strip_prefix("if ").unwrap_or("");
    let compare = conditions.split(',').map(str::trim).filter(|text| !text.is_empty()).map(compare).collect();
    Txn { compare, success: ops(then), failure: ops(otherwise) }
}

fn compare(text: &str) -> Compare {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = || words[3].parse::<i64>().unwrap();
    let target = match words[1] {
        "version" => Target::Version(number()),
        "create" => Target::CreateRevision(Revision(number())),
        "mod" => Target::ModRevision(Revision(number())),
        "value" => Target::Value(words[3].to_owned().into()),
        "lease" => Target::Lease(LeaseId(number())),
        other => panic!("unknown field {other}"),
    };
    let order = match words[2] {
        "=" => Order::Equal,
        "!=" => Order::NotEqual,
        "<" => Order::Less,
        ">" => Order::Greater,
        other => panic!("unknown order {other}"),
    };
    Compare { keys: keys(words[0]), target, order }
}

fn show_kv(kv: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut shown = format!(
        "{}={} (created {}, modified {}, version {}",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision.0,
        kv.mod_revision.0,
        kv.version
    );
    if kv.lease.0 != 0 {
        write!(shown, ", lease {}", kv.lease.0).unwrap();
    }
    shown + ")"
}

fn show_change(change: &Change) -> String {
    let shown = match change.kind {
        ChangeKind::Put => show_kv(&change.kv),
        ChangeKind::Delete => format!("{} deleted", String::from_utf8_lossy(&change.kv.key)),
    };
    match &change.prev_kv {
        Some(before) => format!("{shown} before {}", show_kv(before)),
        None => shown,
    }
}

fn show_range(result: &RangeResult) -> String {
    let mut out = format!("{} of {} @{}\n", result.kvs.len(), result.count, result.revision.0);
    for kv in &result.kvs {
        writeln!(out, "  {}", show_kv(kv)).unwrap();
    }
    out
}

fn show_txn(result: &TxnResult) -> String {
    let branch = if result.succeeded { "then" } else { "else" };
    let mut out = format!("{branch} @{}\n", result.revision.0);
    for result in &result.results {
        match result {
            OpResult::Range(range) => out.push_str(&show_range(range)),
            OpResult::Put { prev_kv } => {
                if let Some(before) = prev_kv {
                    writeln!(out, "  before {}", show_kv(before)).unwrap();
                }
            }
            OpResult::Delete { deleted, prev_kvs } => {
                writeln!(out, "  deleted {deleted}").unwrap();
                for before in prev_kvs {
                    writeln!(out, "  before {}", show_kv(before)).unwrap();
                }
            }
            OpResult::Txn(nested) => out.push_str(&show_txn(nested)),
        }
    }
    out
}

fn show_done(response: &Response) -> String {
    match response {
        Response::Done(revision) => format!("@{}\n", revision.0),
        other => format!("{other:?}\n"),
    }
}
