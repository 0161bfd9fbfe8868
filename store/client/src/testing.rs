//! The suite that every implementation of [`Kv`] passes, and helpers for tests that use one.
//!
//! Panics are the verdicts here, so this module unwraps. It is compiled only with the feature `testing`.

#![allow(clippy::unwrap_used, reason = "a failed expectation of a test is a panic")]

use std::time::Duration;

use futures::StreamExt;

use crate::{
    Change, ChangeKind, Compare, Error, KeyRange, Kv, Lease, LeaseId, Op, OpResult, Order, Range,
    RangeResult, Revision, Target, Txn, TxnResult, Watch, WatchMessage, WatchStream,
};

/// How long a test waits for something that must happen. Generous: it bounds a hang, it measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Runs every test of the suite, each against a new and empty store.
pub async fn suite<K, F>(mut make: impl FnMut() -> F)
where
    K: Kv,
    F: Future<Output = K>,
{
    writes_get_consecutive_revisions_from_two(&make().await).await;
    versions_count_from_creation(&make().await).await;
    ranges_respect_bounds_limits_and_projections(&make().await).await;
    old_revisions_stay_readable(&make().await).await;
    a_transaction_is_atomic_and_has_one_revision(&make().await).await;
    conditions_choose_the_branch(&make().await).await;
    nested_transactions_decide_before_they_write(&make().await).await;
    a_refused_transaction_changes_nothing(&make().await).await;
    compaction_keeps_the_newest_revision(&make().await).await;
    a_watch_delivers_history_then_live_changes(&make().await).await;
    a_watch_of_a_compacted_revision_is_told_so(&make().await).await;
    a_watch_may_start_in_the_future(&make().await).await;
    a_watch_carries_previous_values(&make().await).await;
    progress_overtakes_changes_elsewhere(&make().await).await;
    leases_hold_and_release_keys(&make().await).await;
    an_expired_lease_deletes_its_keys(&make().await).await;
}

/// Writes one key and returns the revision.
pub async fn put(kv: &impl Kv, key: &str, value: &str) -> Revision {
    run(kv, vec![Op::put(key.to_owned(), value.to_owned())]).await.revision
}

/// Deletes one key and returns the revision.
pub async fn delete(kv: &impl Kv, key: &str) -> Revision {
    run(kv, vec![Op::delete(key.to_owned())]).await.revision
}

/// Reads all keys with a prefix as `key=value` pairs at a revision (0 for the newest).
pub async fn list(kv: &impl Kv, prefix: &str, revision: i64) -> Vec<String> {
    let range = Range { revision: Revision(revision), ..Range::new(KeyRange::prefix(prefix.to_owned())) };
    show(&kv.range(range).await.unwrap())
}

/// A watch of a prefix from a revision (0 for the next change).
pub fn watch_prefix(prefix: &str, start: i64) -> Watch {
    Watch {
        keys: KeyRange::prefix(prefix.to_owned()),
        start: Revision(start),
        prev_kv: false,
        progress: false,
    }
}

/// The next message that is not progress.
pub async fn next(stream: &mut WatchStream) -> Result<WatchMessage, Error> {
    tokio::time::timeout(DEADLINE, async {
        loop {
            match stream.next().await.expect("a watch ends only after an error") {
                Ok(WatchMessage::Progress { .. }) => {}
                other => return other,
            }
        }
    })
    .await
    .expect("a message within the deadline")
}

/// The next changes, skipping the creation message and progress, as `revision:key=value` or `revision:-key`.
pub async fn next_changes(stream: &mut WatchStream) -> Vec<String> {
    loop {
        match next(stream).await.unwrap() {
            WatchMessage::Created { .. } | WatchMessage::Progress { .. } => {}
            WatchMessage::Changes { changes, .. } => return changes.iter().map(show_change).collect(),
        }
    }
}

async fn run(kv: &impl Kv, success: Vec<Op>) -> TxnResult {
    kv.txn(Txn { success, ..Txn::default() }).await.unwrap()
}

fn show(result: &RangeResult) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    result.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect()
}

fn show_change(change: &Change) -> String {
    let key = String::from_utf8_lossy(&change.kv.key);
    let revision = change.kv.mod_revision.0;
    match change.kind {
        ChangeKind::Put => format!("{revision}:{key}={}", String::from_utf8_lossy(&change.kv.value)),
        ChangeKind::Delete => format!("{revision}:-{key}"),
    }
}

async fn writes_get_consecutive_revisions_from_two(kv: &impl Kv) {
    assert_eq!(kv.read_revision().await.unwrap(), Revision(1));
    assert_eq!(put(kv, "a", "1").await, Revision(2));
    assert_eq!(put(kv, "a", "1").await, Revision(3));
    assert_eq!(delete(kv, "missing").await, Revision(3), "deleting nothing is no change");
    assert_eq!(run(kv, vec![Op::get("a")]).await.revision, Revision(3), "a read is no change");
    assert_eq!(delete(kv, "a").await, Revision(4));
    assert_eq!(kv.read_revision().await.unwrap(), Revision(4));
}

async fn versions_count_from_creation(kv: &impl Kv) {
    put(kv, "a", "1").await;
    put(kv, "a", "2").await;
    let get = || async { kv.range(Range::new(KeyRange::Key("a".into()))).await.unwrap().kvs.remove(0) };
    let second = get().await;
    assert_eq!((second.create_revision, second.mod_revision, second.version), (Revision(2), Revision(3), 2));
    delete(kv, "a").await;
    put(kv, "a", "3").await;
    let third = get().await;
    assert_eq!((third.create_revision, third.mod_revision, third.version), (Revision(5), Revision(5), 1));
    assert_eq!(third.value, "3");
}

async fn ranges_respect_bounds_limits_and_projections(kv: &impl Kv) {
    for key in ["a", "b", "b\0", "ba", "c"] {
        put(kv, key, "v").await;
    }
    let interval = KeyRange::Interval { start: "b".into(), end: "c".into() };
    let table = [
        (KeyRange::Key("b".into()), 1),
        (interval.clone(), 3),
        (KeyRange::From("b\0".into()), 3),
        (KeyRange::From("".into()), 5),
        (KeyRange::prefix("b"), 3),
        (KeyRange::Interval { start: "c".into(), end: "b".into() }, 0),
        (KeyRange::Interval { start: "b".into(), end: "b".into() }, 0),
    ];
    for (keys, expect) in table {
        let found = kv.range(Range::new(keys.clone())).await.unwrap();
        assert_eq!((found.kvs.len(), found.count), (expect, expect as i64), "{keys:?}");
    }
    let limited =
        kv.range(Range { limit: 2, keys_only: true, ..Range::new(interval.clone()) }).await.unwrap();
    assert_eq!(show(&limited), ["b=", "b\0="]);
    assert_eq!((limited.more, limited.count, limited.revision), (true, 3, Revision(6)));
    let exact = kv.range(Range { limit: 3, ..Range::new(interval.clone()) }).await.unwrap();
    assert!(!exact.more);
    let counted = kv.range(Range { count_only: true, ..Range::new(interval) }).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count, counted.more), (0, 3, false));
    let empty = kv.range(Range::new(KeyRange::Key("".into()))).await;
    assert!(matches!(empty, Err(Error::Invalid(_))));
}

async fn old_revisions_stay_readable(kv: &impl Kv) {
    put(kv, "a", "1").await;
    put(kv, "b", "1").await;
    put(kv, "a", "2").await;
    delete(kv, "b").await;
    let expect: [&[&str]; 5] = [&[], &["a=1"], &["a=1", "b=1"], &["a=2", "b=1"], &["a=2"]];
    for (revision, pairs) in (1..).zip(expect) {
        assert_eq!(list(kv, "", revision).await, pairs, "at revision {revision}");
    }
    let future = Range { revision: Revision(6), ..Range::new(KeyRange::prefix("")) };
    let refused = kv.range(future).await;
    assert!(matches!(refused, Err(Error::FutureRevision { newest: Revision(5) })), "{refused:?}");
}

async fn a_transaction_is_atomic_and_has_one_revision(kv: &impl Kv) {
    put(kv, "old", "1").await;
    let ops = vec![
        Op::put("a", "1"),
        Op::get("a"),
        Op::Delete { keys: KeyRange::prefix("old"), prev_kv: true },
        Op::put("b", "2"),
        Op::Range(Range::new(KeyRange::prefix(""))),
    ];
    let done = run(kv, ops).await;
    assert_eq!(done.revision, Revision(3));
    let OpResult::Range(own) = &done.results[1] else { panic!("{done:?}") };
    assert_eq!(show(own), ["a=1"], "a transaction reads its own writes");
    let OpResult::Delete { deleted: 1, prev_kvs } = &done.results[2] else { panic!("{done:?}") };
    assert_eq!(prev_kvs[0].value, "1");
    let OpResult::Range(all) = &done.results[4] else { panic!("{done:?}") };
    assert_eq!(show(all), ["a=1", "b=2"]);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision == Revision(3)));
    assert_eq!(list(kv, "", 2).await, ["old=1"]);
    assert_eq!(list(kv, "", 3).await, ["a=1", "b=2"]);
}

async fn conditions_choose_the_branch(kv: &impl Kv) {
    let create = |value: &'static str| Txn {
        compare: vec![Compare::mod_revision("a", Revision(0))],
        success: vec![Op::put("a", value)],
        failure: vec![Op::get("a")],
    };
    assert!(kv.txn(create("1")).await.unwrap().succeeded);
    let lost = kv.txn(create("2")).await.unwrap();
    assert!(!lost.succeeded);
    assert_eq!(lost.revision, Revision(2));
    let OpResult::Range(found) = &lost.results[0] else { panic!("{lost:?}") };
    assert_eq!(show(found), ["a=1"]);
    let all_new = Compare {
        keys: KeyRange::prefix("a"),
        target: Target::CreateRevision(Revision(1)),
        order: Order::Greater,
    };
    let holds = kv.txn(Txn { compare: vec![all_new], ..Txn::default() }).await.unwrap();
    assert!(holds.succeeded);
}

async fn nested_transactions_decide_before_they_write(kv: &impl Kv) {
    let nested = Txn {
        compare: vec![Compare::mod_revision("a", Revision(0))],
        success: vec![Op::put("b", "a was missing")],
        failure: vec![Op::put("b", "a was there")],
    };
    let done = run(kv, vec![Op::put("a", "1"), Op::Txn(nested)]).await;
    let OpResult::Txn(inner) = &done.results[1] else { panic!("{done:?}") };
    assert!(inner.succeeded);
    assert_eq!(list(kv, "", 0).await, ["a=1", "b=a was missing"]);
    assert_eq!(done.revision, Revision(2));
}

async fn a_refused_transaction_changes_nothing(kv: &impl Kv) {
    put(kv, "a", "1").await;
    let with_lease = |lease| Op::Put {
        key: "x".into(),
        value: "1".into(),
        lease: LeaseId(lease),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    let no_lease = kv.txn(Txn { success: vec![Op::put("b", "1"), with_lease(99)], ..Txn::default() }).await;
    assert!(matches!(no_lease, Err(Error::LeaseNotFound)), "{no_lease:?}");
    let future = Range { revision: Revision(99), ..Range::new(KeyRange::Key("a".into())) };
    let ahead = kv.txn(Txn { success: vec![Op::put("b", "1"), Op::Range(future)], ..Txn::default() }).await;
    assert!(matches!(ahead, Err(Error::FutureRevision { .. })), "{ahead:?}");
    let twice = kv.txn(Txn { success: vec![Op::put("b", "1"), Op::put("b", "2")], ..Txn::default() }).await;
    assert!(matches!(twice, Err(Error::Invalid(_))), "{twice:?}");
    let keep = Op::Put {
        key: "missing".into(),
        value: "".into(),
        lease: LeaseId(0),
        prev_kv: false,
        ignore_value: true,
        ignore_lease: false,
    };
    let absent = kv.txn(Txn { success: vec![Op::put("b", "1"), keep], ..Txn::default() }).await;
    assert!(matches!(absent, Err(Error::Invalid(_))), "{absent:?}");
    assert_eq!(list(kv, "", 0).await, ["a=1"]);
    assert_eq!(put(kv, "a", "2").await, Revision(3), "a refused transaction takes no revision");
}

async fn compaction_keeps_the_newest_revision(kv: &impl Kv) {
    put(kv, "a", "1").await;
    put(kv, "a", "2").await;
    put(kv, "b", "1").await;
    delete(kv, "b").await;
    put(kv, "a", "3").await;
    kv.compact(Revision(4)).await.unwrap();
    assert_eq!(list(kv, "", 4).await, ["a=2", "b=1"]);
    assert_eq!(list(kv, "", 5).await, ["a=2"]);
    assert_eq!(list(kv, "", 0).await, ["a=3"]);
    let gone = kv.range(Range { revision: Revision(3), ..Range::new(KeyRange::prefix("")) }).await;
    assert!(matches!(gone, Err(Error::Compacted { oldest: Revision(4) })), "{gone:?}");
    assert!(matches!(kv.compact(Revision(4)).await, Err(Error::Compacted { .. })));
    assert!(matches!(kv.compact(Revision(7)).await, Err(Error::FutureRevision { .. })));
    kv.compact(Revision(6)).await.unwrap();
    assert_eq!(list(kv, "", 0).await, ["a=3"]);
}

async fn a_watch_delivers_history_then_live_changes(kv: &impl Kv) {
    put(kv, "k/a", "1").await;
    put(kv, "other", "1").await;
    delete(kv, "k/a").await;
    let mut stream = kv.watch(watch_prefix("k/", 2)).await.unwrap();
    let created = next(&mut stream).await.unwrap();
    assert!(matches!(created, WatchMessage::Created { revision: Revision(4) }), "{created:?}");
    assert_eq!(next_changes(&mut stream).await, ["2:k/a=1"]);
    assert_eq!(next_changes(&mut stream).await, ["4:-k/a"]);
    run(kv, vec![Op::put("k/b", "1"), Op::put("elsewhere", "1"), Op::put("k/c", "2")]).await;
    assert_eq!(next_changes(&mut stream).await, ["5:k/b=1", "5:k/c=2"], "one revision, one message");
    let mut live = kv.watch(watch_prefix("k/", 0)).await.unwrap();
    assert!(matches!(next(&mut live).await, Ok(WatchMessage::Created { revision: Revision(5) })));
    put(kv, "k/b", "2").await;
    assert_eq!(next_changes(&mut live).await, ["6:k/b=2"]);
    assert_eq!(next_changes(&mut stream).await, ["6:k/b=2"]);
}

async fn a_watch_of_a_compacted_revision_is_told_so(kv: &impl Kv) {
    put(kv, "a", "1").await;
    delete(kv, "a").await;
    put(kv, "a", "2").await;
    kv.compact(Revision(3)).await.unwrap();
    let refused = match kv.watch(watch_prefix("a", 2)).await {
        Err(error) => error,
        Ok(mut stream) => match next(&mut stream).await {
            Err(error) => error,
            Ok(_created) => next(&mut stream).await.unwrap_err(),
        },
    };
    assert!(matches!(refused, Error::Compacted { oldest: Revision(3) }), "{refused:?}");
    let mut kept = kv.watch(watch_prefix("a", 3)).await.unwrap();
    assert_eq!(next_changes(&mut kept).await, ["3:-a"], "the deletion at the compacted revision is kept");
    assert_eq!(next_changes(&mut kept).await, ["4:a=2"]);
}

async fn a_watch_may_start_in_the_future(kv: &impl Kv) {
    put(kv, "a", "1").await;
    let mut stream = kv.watch(watch_prefix("a", 4)).await.unwrap();
    for value in ["2", "3", "4"] {
        put(kv, "a", value).await;
    }
    assert_eq!(next_changes(&mut stream).await, ["4:a=3"]);
    assert_eq!(next_changes(&mut stream).await, ["5:a=4"]);
}

async fn a_watch_carries_previous_values(kv: &impl Kv) {
    put(kv, "a", "1").await;
    put(kv, "a", "2").await;
    delete(kv, "a").await;
    let mut stream = kv.watch(Watch { prev_kv: true, ..watch_prefix("a", 2) }).await.unwrap();
    let mut previous = Vec::new();
    while previous.len() < 3 {
        if let WatchMessage::Changes { changes, .. } = next(&mut stream).await.unwrap() {
            previous.extend(changes.into_iter().map(|change| change.prev_kv.map(|kv| kv.value)));
        }
    }
    assert_eq!(previous, [None, Some("1".into()), Some("2".into())]);
}

async fn progress_overtakes_changes_elsewhere(kv: &impl Kv) {
    let mut stream = kv.watch(Watch { progress: true, ..watch_prefix("a", 0) }).await.unwrap();
    let revision = put(kv, "b", "1").await;
    let seen = tokio::time::timeout(DEADLINE, async {
        loop {
            match stream.next().await.unwrap().unwrap() {
                WatchMessage::Progress { revision: seen } if seen >= revision => return seen,
                WatchMessage::Created { revision: seen } if seen >= revision => return seen,
                WatchMessage::Changes { changes, .. } => panic!("{changes:?}"),
                WatchMessage::Progress { .. } | WatchMessage::Created { .. } => {}
            }
        }
    });
    assert_eq!(seen.await.expect("progress within the deadline"), revision);
}

async fn leases_hold_and_release_keys(kv: &impl Kv) {
    let lease = kv.lease_grant(LeaseId(7), 1000).await.unwrap();
    assert_eq!((lease.id, lease.granted_ttl_s), (LeaseId(7), 1000));
    assert!(matches!(kv.lease_grant(LeaseId(7), 1000).await, Err(Error::LeaseExists)));
    assert_ne!(kv.lease_grant(LeaseId(0), 1000).await.unwrap().id, LeaseId(0));
    for key in ["b", "a", "moved"] {
        run(kv, vec![put_leased(key, 7)]).await;
    }
    put(kv, "moved", "free").await;
    let Lease { ttl_s, keys, .. } = kv.lease_time_to_live(LeaseId(7), true).await.unwrap();
    assert!((1..=1000).contains(&ttl_s), "{ttl_s}");
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(kv.lease_keep_alive(LeaseId(7)).await.unwrap().ttl_s, 1000);
    let before = kv.read_revision().await.unwrap();
    let revoked = kv.lease_revoke(LeaseId(7)).await.unwrap();
    assert_eq!(revoked.0, before.0 + 1, "a revoked lease deletes its keys in one revision");
    assert_eq!(list(kv, "", 0).await, ["moved=free"]);
    assert!(matches!(kv.lease_revoke(LeaseId(7)).await, Err(Error::LeaseNotFound)));
    assert!(matches!(kv.lease_keep_alive(LeaseId(7)).await, Err(Error::LeaseNotFound)));
    assert_eq!(kv.lease_time_to_live(LeaseId(7), false).await.unwrap().ttl_s, -1);
}

async fn an_expired_lease_deletes_its_keys(kv: &impl Kv) {
    kv.lease_grant(LeaseId(5), 1).await.unwrap();
    run(kv, vec![put_leased("a", 5), put_leased("b", 5)]).await;
    let mut stream = kv.watch(watch_prefix("", 0)).await.unwrap();
    assert_eq!(next_changes(&mut stream).await, ["3:-a", "3:-b"]);
    assert_eq!(kv.lease_time_to_live(LeaseId(5), false).await.unwrap().ttl_s, -1);
}

fn put_leased(key: &'static str, lease: i64) -> Op {
    Op::Put {
        key: key.into(),
        value: "1".into(),
        lease: LeaseId(lease),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}
