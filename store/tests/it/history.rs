//! The store as it was: comparing moments, taking back deletions, times.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use proto::store::{self as pb, history_client::HistoryClient};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use store::engine::{Engine, memory::MemoryEngine, rocks::RocksEngine};
use store::history::{Error, Moment, Undelete};
use store::machine::command::Command;
use store::{Handle, Listeners, Options, Seams, Server};
use store_client::testing::{list, put};
use store_client::{KeyRange, Kv, Op, Range, Revision, Txn};

use crate::cluster::{Cluster, bind, put_surely, wait_for};
use crate::local::Local;
use crate::single::{quick, restart_with};

type Content = BTreeMap<Bytes, Bytes>;

const KEYS: [&str; 6] = ["a", "a/1", "a\0", "b", "b/1", "\u{7f}"];

/// A machine and what its content was at each revision.
struct Grown {
    local: Local,
    at: Vec<Content>,
    compacted: i64,
}

fn grow(engine: Arc<dyn Engine>, seed: u64) -> Grown {
    let mut chance = StdRng::seed_from_u64(seed);
    let local = Local::new(engine);
    let mut at = vec![Content::new(), Content::new()];
    let mut compacted = 0;
    while at.len() < 60 {
        let mut content = at.last().unwrap().clone();
        let key = Bytes::from_static(KEYS.choose(&mut chance).unwrap().as_bytes());
        let op = if chance.random_bool(0.4) {
            if content.remove(&key).is_none() {
                continue;
            }
            Op::delete(key)
        } else {
            let value = Bytes::from(chance.random_range(0..3).to_string());
            content.insert(key.clone(), value.clone());
            Op::put(key, value)
        };
        local.run(Command::Txn(Txn { success: vec![op], ..Txn::default() })).unwrap();
        at.push(content);
        if chance.random_bool(0.03) {
            compacted = chance.random_range(compacted + 1..at.len() as i64);
            local.run(Command::Compact(Revision(compacted))).unwrap();
        }
        if chance.random_bool(0.1) {
            while local.machine.scrub_step().unwrap() {}
        }
    }
    Grown { local, at, compacted }
}

fn side(kv: Option<&store_client::KeyValue>) -> Option<(Bytes, Bytes)> {
    kv.map(|kv| (kv.key.clone(), kv.value.clone()))
}

fn compare_with_model(engine: Arc<dyn Engine>, seed: u64) {
    let context = format!("replay with seed {seed}");
    let Grown { local, at, compacted } = grow(engine, seed);
    let mut chance = StdRng::seed_from_u64(seed);
    let newest = at.len() as i64 - 1;
    for keys in [KeyRange::From(Bytes::new()), KeyRange::prefix("a"), KeyRange::Key("b".into())] {
        for _ in 0..10 {
            let [from, to] = [0; 2].map(|_| chance.random_range(compacted.max(1)..=newest));
            let mut found = Vec::new();
            local
                .machine
                .diff(&keys, Revision(from), Revision(to), &mut |difference| {
                    found.push((side(difference.before.as_ref()), side(difference.after.as_ref())));
                    ControlFlow::Continue(())
                })
                .unwrap_or_else(|failure| panic!("{context}: {failure:?}"));
            let (from, to) = (&at[from as usize], &at[to as usize]);
            let mut expected = Vec::new();
            let all: std::collections::BTreeSet<_> = from.keys().chain(to.keys()).collect();
            for key in all.into_iter().filter(|key| keys.contains(key)) {
                let of = |content: &Content| content.get(key).map(|value| (key.clone(), value.clone()));
                if of(from) != of(to) {
                    expected.push((of(from), of(to)));
                }
            }
            assert_eq!(found, expected, "{context}");
        }
        let mut found = Content::new();
        local
            .machine
            .deleted(&keys, &mut |kv| {
                found.insert(kv.key, kv.value);
                ControlFlow::Continue(())
            })
            .unwrap();
        let mut expected = Content::new();
        for content in &at[compacted.max(1) as usize..] {
            expected.extend(content.clone());
        }
        expected.retain(|key, _| keys.contains(key) && !at[newest as usize].contains_key(key));
        assert_eq!(found, expected, "{context}: what can be brought back");
    }
}

#[test]
fn differences_and_deletions_agree_with_the_model() {
    for seed in 0..300 {
        compare_with_model(Arc::new(MemoryEngine::new()), seed);
    }
    let scratch = tempfile::tempdir().unwrap();
    for seed in 300..303 {
        let engine = RocksEngine::open(&scratch.path().join(seed.to_string())).unwrap();
        compare_with_model(Arc::new(engine), seed);
    }
}

async fn delete(kv: &impl Kv, keys: KeyRange) {
    kv.txn(Txn { success: vec![Op::Delete { keys, prev_kv: false }], ..Txn::default() }).await.unwrap();
}

async fn all(kv: &Handle, prefix: &str) -> Vec<String> {
    let range = Range::new(KeyRange::prefix(prefix.to_owned()));
    let show = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let found = kv.range(range).await.unwrap();
    found.kvs.iter().map(|kv| format!("{}={}", show(&kv.key), show(&kv.value))).collect()
}

async fn single(directory: &Path) -> Server {
    Server::start(quick(Options::single(directory))).await.unwrap()
}

fn undelete(keys: KeyRange, at: Option<Moment>, force: bool) -> Undelete {
    Undelete { keys, at, force }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_comes_back_and_what_is_newer_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let server = single(scratch.path()).await;
    let kv = server.handle();
    for key in ["p/1", "p/2", "p/3", "q"] {
        put(&kv, key, "old").await;
    }
    let before = put(&kv, "p/3", "older").await;
    delete(&kv, KeyRange::prefix("p/")).await;
    put(&kv, "p/2", "new").await;

    let prefix = KeyRange::prefix("p/");
    let done = kv.undelete(undelete(prefix.clone(), None, false)).await.unwrap();
    assert_eq!((done.keys, done.transactions, done.revision), (2, 1, Revision(before.0 + 3)));
    assert_eq!(all(&kv, "p/").await, ["p/1=old", "p/2=new", "p/3=older"]);
    let again = kv.undelete(undelete(prefix.clone(), None, false)).await;
    assert!(matches!(again, Err(Error::NothingDeleted { .. })), "{again:?}");

    // At a moment: what has been written since is newer.
    let at = Some(Moment::Revision(before.0));
    let refused = kv.undelete(undelete(prefix.clone(), at, false)).await;
    assert!(
        matches!(&refused, Err(Error::Newer { count: 1, examples }) if examples == &["p/2"]),
        "{refused:?}"
    );
    assert_eq!(all(&kv, "p/2").await, ["p/2=new"]);
    assert_eq!(kv.undelete(undelete(prefix, at, true)).await.unwrap().keys, 1);
    assert_eq!(all(&kv, "p/").await, ["p/1=old", "p/2=old", "p/3=older"]);

    delete(&kv, KeyRange::Key("q".into())).await;
    let gone = kv.revision();
    kv.compact(gone).await.unwrap();
    let refused = kv.undelete(undelete(KeyRange::Key("q".into()), None, false)).await;
    assert!(matches!(refused, Err(Error::NothingDeleted { oldest }) if oldest == gone.0), "{refused:?}");
    let refused = kv.undelete(undelete(KeyRange::Key("q".into()), at, false)).await;
    assert!(matches!(refused, Err(Error::Store(store_client::Error::Compacted { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_come_back_in_several_transactions_and_are_compared_in_pieces() {
    let scratch = tempfile::tempdir().unwrap();
    let server = single(scratch.path()).await;
    let kv = server.handle();
    let empty = kv.revision();
    for batch in 0..5 {
        let puts = (0..500).map(|number| Op::put(format!("k{batch}{number:03}"), "v".repeat(200)));
        kv.txn(Txn { success: puts.collect(), ..Txn::default() }).await.unwrap();
    }
    let full = kv.revision();
    delete(&kv, KeyRange::prefix("k")).await;
    let done = kv.undelete(undelete(KeyRange::prefix("k"), None, false)).await.unwrap();
    assert_eq!((done.keys, done.transactions), (2500, 3));

    let diff = |from: Revision, to: Revision| {
        let kv = kv.clone();
        async move {
            let (from, to) = (Moment::Revision(from.0), Moment::Revision(to.0));
            let mut diff = kv.diff(KeyRange::From(Bytes::new()), from, to).await.unwrap();
            let (mut count, mut pieces) = (0, 0);
            while let Some(piece) = diff.pieces.recv().await {
                count += piece.unwrap().len();
                pieces += 1;
            }
            (count, pieces)
        }
    };
    assert_eq!(diff(full, done.revision).await, (0, 0), "everything is as it was");
    let (count, pieces) = diff(empty, full).await;
    assert_eq!(count, 2500);
    assert!(pieces > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_knows_the_revision_at_a_time_whoever_led_then() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    let first = put_surely(&cluster.handle(&leader), "k", "first").await;
    let noted = noted(&cluster.handle(&leader), first).await;
    drop(cluster.servers.remove(&leader));
    let other = cluster.leader().await;
    let second = put_surely(&cluster.handle(&other), "k", "second").await;
    let later = self::noted(&cluster.handle(&other), second).await;
    assert!(later > noted);
    let options = cluster.options[&leader].clone();
    cluster.servers.insert(leader.clone(), crate::single::restart(options).await);
    for server in cluster.servers.values() {
        let handle = server.handle();
        for (time, expect) in [(noted, first), (later - 1, first), (later, second)] {
            let found = handle.revision_at(time).await.unwrap();
            assert!(found.revision == expect.0 && found.unix_ms <= time, "{found:?} at {time}");
        }
        let range = Range::new(KeyRange::Key("k".into()));
        let then = handle.range_at(range, Moment::UnixMs(noted)).await.unwrap();
        assert_eq!(then.kvs[0].value, "first");
        let before = handle.revision_at(5).await.unwrap_err();
        assert!(before.to_string().contains("the oldest readable moment is 20"), "{before}");
    }
}

/// When it was noted that a revision was the newest.
async fn noted(handle: &Handle, revision: Revision) -> u64 {
    let machine = handle.clone();
    let until = tokio::time::Instant::now() + store_client::testing::DEADLINE;
    loop {
        // A moment before now, because now the newest revision is known without a note.
        let now = store::history::clock::now_unix_ms() - 1;
        if let Ok(found) = machine.revision_at(now).await
            && found.revision == revision.0
        {
            return found.unix_ms;
        }
        assert!(tokio::time::Instant::now() < until, "revision {} is not noted", revision.0);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_holds_after_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options { history_window_s: 3600, ..quick(Options::single(scratch.path())) };
    let start_unix_ms = 1_700_000_000_000;
    let at = async |start_unix_ms| restart_with(options.clone(), clock_from(start_unix_ms)).await;
    let server = at(start_unix_ms).await;
    let kv = server.handle();
    let old = put(&kv, "k", "old").await;
    wait_until_noted(&kv, start_unix_ms, old).await;
    let new = put(&kv, "k", "new").await;
    server.stop().await.unwrap();
    drop(kv);
    // Half an hour later everything is there, an hour later only the newest.
    let server = at(start_unix_ms + 1_800_000).await;
    let kv = server.handle();
    assert_eq!(kv.revision_at(start_unix_ms + 600_000).await.unwrap().revision, old.0);
    assert_eq!(list(&kv, "k", old.0).await, ["k=old"]);
    wait_until_noted(&kv, start_unix_ms + 1_800_000, new).await;
    server.stop().await.unwrap();
    drop(kv);
    let server = at(start_unix_ms + 3_600_000 + 2_400_000).await;
    let kv = server.handle();
    wait_for("the past to be forgotten", || {
        let range = Range { revision: old, serializable: true, ..Range::new(KeyRange::Key("k".into())) };
        let read = futures::FutureExt::now_or_never(kv.range(range))?;
        matches!(read, Err(store_client::Error::Compacted { .. })).then_some(())
    })
    .await;
    assert_eq!(list(&kv, "k", 0).await, ["k=new"]);
    let before = kv.revision_at(start_unix_ms + 600_000).await;
    assert!(
        matches!(before, Err(Error::Before { oldest: Some(oldest), .. }) if oldest.revision == new.0),
        "{before:?}"
    );
}

/// A member whose clock begins at a time.
fn clock_from(start_unix_ms: u64) -> Seams {
    let started = tokio::time::Instant::now();
    let clock = move || start_unix_ms + started.elapsed().as_millis() as u64;
    Seams { clock: Some(Arc::new(clock)), ..Seams::default() }
}

/// Waits for a note by a member whose clock was started at a time some moments ago.
async fn wait_until_noted(kv: &Handle, started_unix_ms: u64, revision: Revision) {
    let started = tokio::time::Instant::now();
    loop {
        // Not later than the member's clock, which has run for longer: of now it knows the revision without a note.
        let time = started_unix_ms + started.elapsed().as_millis() as u64;
        if kv.revision_at(time).await.ok().map(|noted| noted.revision) == Some(revision.0) {
            return;
        }
        assert!(started.elapsed() < store_client::testing::DEADLINE, "revision {} is not noted", revision.0);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_other_languages_have_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let (socket, url) = bind();
    let options = quick(Options::single(scratch.path()));
    let server =
        Server::start_on(options, Listeners { peer: Vec::new(), client: vec![socket] }).await.unwrap();
    let kv = server.handle();
    let first = put(&kv, "k", "1").await;
    let second = put(&kv, "k", "2").await;
    delete(&kv, KeyRange::Key("k".into())).await;
    let mut client = HistoryClient::connect(url).await.unwrap();
    let moment =
        |revision: Revision| Some(pb::Moment { moment: Some(pb::moment::Moment::Revision(revision.0)) });
    let ask =
        pb::DiffRequest { key: "k".into(), range_end: Bytes::new(), from: moment(first), to: moment(second) };
    let stream = client.diff(ask.clone()).await.unwrap().into_inner();
    let responses: Vec<_> = stream.map(Result::unwrap).collect().await;
    let differences: Vec<_> = responses.iter().flat_map(|response| &response.differences).collect();
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].before.as_ref().unwrap().value, "1");
    assert_eq!(differences[0].after.as_ref().unwrap().value, "2");
    let ask = pb::UndeleteRequest { key: "k".into(), ..pb::UndeleteRequest::default() };
    assert_eq!(client.undelete(ask.clone()).await.unwrap().into_inner().keys, 1);
    assert_eq!(client.undelete(ask).await.unwrap_err().code(), tonic::Code::NotFound);
    let before = client.revision_at(pb::RevisionAtRequest { unix_ms: 5 }).await.unwrap_err();
    assert_eq!(before.code(), tonic::Code::OutOfRange, "{before}");
    let future = u64::MAX / 4;
    let now = client.revision_at(pb::RevisionAtRequest { unix_ms: future }).await.unwrap().into_inner();
    assert_eq!(now.revision, second.0 + 2);
}

#[tokio::test]
async fn what_the_past_took_is_free_again_although_nobody_writes() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Arc::new(RocksEngine::open(scratch.path()).unwrap());
    let local = Local::new(engine.clone());
    let mut chance = StdRng::seed_from_u64(1);
    for number in 0..64 {
        let mut value = vec![0; 1 << 20];
        chance.fill(&mut value[..]);
        let success = vec![Op::put(KEYS[number % 4], value)];
        local.run(Command::Txn(Txn { success, ..Txn::default() })).unwrap();
        if number % 16 == 15 {
            assert!(engine.flush().unwrap(), "there is space");
        }
    }
    assert!(engine.size_bytes() > 60 << 20, "{}", engine.size_bytes());
    local.compact(Revision(65)).await.unwrap();
    wait_for("the space of the past", || (engine.size_bytes() < 8 << 20).then_some(())).await;
}
