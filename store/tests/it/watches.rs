//! Watches that do not keep up.

use std::sync::Arc;

use store::engine::memory::MemoryEngine;
use store::limits::WATCH_QUEUE_REVISIONS_MAX;
use store::machine::command::Command;
use store::watch::{Delivery, Subscription};
use store_client::testing::watch_prefix;
use store_client::{Error, KeyRange, Kv, Op, Revision, Txn};

use crate::local::Local;

fn put(local: &Local, times: usize) {
    let put = Command::Txn(Txn { success: vec![Op::put("k", "v")], ..Txn::default() });
    for _ in 0..times {
        local.apply(std::slice::from_ref(&put));
    }
}

async fn read(subscription: &mut Subscription) -> (Vec<i64>, Option<Error>) {
    subscription.asker().ask();
    let mut revisions = Vec::new();
    loop {
        match subscription.next().await {
            Some(Ok(Delivery::Revised(revised))) => revisions.push(revised.revision.0),
            Some(Ok(Delivery::Created(_))) => {}
            Some(Ok(Delivery::Progress(_))) | None => return (revisions, None),
            Some(Err(error)) => return (revisions, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_slow_watcher_loses_nothing_but_what_was_compacted() {
    let local = Local::new(Arc::new(MemoryEngine::new()));
    let mut patient = local.subscribe(watch_prefix("k", 0)).unwrap();
    let mut overtaken = local.subscribe(watch_prefix("k", 0)).unwrap();
    let many = WATCH_QUEUE_REVISIONS_MAX * 3;
    put(&local, many);
    let last = 1 + many as i64;
    assert_eq!(read(&mut patient).await.0, (2..=last).collect::<Vec<_>>(), "S3");
    put(&local, 5);
    assert_eq!(read(&mut patient).await.0, (last + 1..=last + 5).collect::<Vec<_>>(), "S3");

    local.compact(Revision(last)).await.unwrap();
    let (seen, error) = read(&mut overtaken).await;
    assert_eq!(seen, (2..2 + WATCH_QUEUE_REVISIONS_MAX as i64).collect::<Vec<_>>(), "what was queued");
    assert!(matches!(error, Some(Error::Compacted { oldest }) if oldest.0 == last), "S3: {error:?}");
}

#[tokio::test]
async fn a_restored_image_is_read_from_history() {
    let scratch = tempfile::tempdir().unwrap();
    let (leader, follower) =
        (Local::new(Arc::new(MemoryEngine::new())), Local::new(Arc::new(MemoryEngine::new())));
    for local in [&leader, &follower] {
        put(local, 3);
    }
    let mut subscription = follower.subscribe(watch_prefix("k", 0)).unwrap();
    put(&leader, 10);
    let image = scratch.path().join("image");
    let position = raft::StateMachine::checkpoint(leader.machine.as_ref(), &image).unwrap();
    raft::StateMachine::restore(follower.machine.as_ref(), &image).unwrap();
    assert_eq!(raft::StateMachine::position(follower.machine.as_ref()).unwrap(), position);
    assert_eq!(read(&mut subscription).await.0, (5..=14).collect::<Vec<_>>(), "S3");
    let agree = || {
        let hash = |local: &Local| local.machine.hash(Revision(0)).unwrap();
        assert_eq!(hash(&follower), hash(&leader), "S5");
    };
    agree();
    // What the follower knew of the key before is not what the next version counts from.
    for local in [&leader, &follower] {
        put(local, 1);
    }
    agree();
}

#[tokio::test]
async fn what_a_transaction_writes_and_deletes_again_is_told_to_those_who_come_later_too() {
    let local = Local::new(Arc::new(MemoryEngine::new()));
    let mut live = local.subscribe(watch_prefix("k", 0)).unwrap();
    let alone = |op| Op::Txn(Txn { success: vec![op], ..Txn::default() });
    let success = vec![
        alone(Op::put("k/other", "stays")),
        alone(Op::put("k", "passes")),
        alone(Op::Delete { keys: KeyRange::Key("k".into()), prev_kv: false }),
    ];
    let both = Command::Txn(Txn { success, ..Txn::default() });
    // The second time is about a key that was there.
    for command in [&both, &Command::Txn(Txn { success: vec![Op::put("k", "v")], ..Txn::default() }), &both] {
        local.apply(std::slice::from_ref(command));
    }
    let mut late = local.subscribe(watch_prefix("k", 2)).unwrap();
    let told = changes(&mut live).await;
    assert_eq!(told.len(), 7, "{told:?}");
    assert_eq!(changes(&mut late).await, told, "S3");

    // What happened at the compacted revision stays.
    local.compact(Revision(4)).await.unwrap();
    let mut later = local.subscribe(watch_prefix("k", 4)).unwrap();
    assert_eq!(changes(&mut later).await, told[4..], "S3");
}

async fn changes(subscription: &mut Subscription) -> Vec<String> {
    subscription.asker().ask();
    let mut changes = Vec::new();
    loop {
        match subscription.next().await {
            Some(Ok(Delivery::Revised(revised))) => {
                changes.extend(revised.changes.iter().map(|change| format!("{change:?}")));
            }
            Some(Ok(Delivery::Created(_))) => {}
            Some(Ok(Delivery::Progress(_))) | None => return changes,
            Some(Err(error)) => panic!("{error}"),
        }
    }
}
