//! A member whose state is not what was written is found and does not serve.

use std::path::{Path, PathBuf};

use store::engine::{Batch, Engine, rocks::RocksEngine};
use store::mvcc::facts::FORMAT;
use store::mvcc::layout::{self, Version};
use store::{Error, Options, Server};
use store_client::testing::{DEADLINE, put};
use store_client::{Error as Refusal, KeyRange, Kv, Op, Range, Txn};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, put_surely, wait_for};
use crate::single::{quick, restart};

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

async fn refusal(options: &Options) -> Error {
    loop {
        match Server::start(options.clone()).await {
            Err(Error::Directory { detail, .. }) if detail.contains("another process") => {}
            Err(error) => return error,
            Ok(server) => drop(server),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn refuses_to_start(options: Options) {
    let refused = refusal(&options).await;
    assert!(refused.to_string().contains("found damaged"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_know_who_it_is_does_not_start_and_finds_out_when_it_can() {
    let scratch = tempfile::tempdir().unwrap();
    let options = quick(Options::single(scratch.path()));
    let server = Server::start(options.clone()).await.unwrap();
    let id = server.handle().member_id();
    put(&server.handle(), "k", "v").await;
    server.stop().await.unwrap();

    let file = scratch.path().join("member.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let other = whole.replace(&id.0.to_string(), &(id.0 ^ 1).to_string());
    assert_ne!(other, whole);
    for (damaged, named) in
        [("", "member.json"), (&whole[..whole.len() / 2], "member.json"), (&other, "belongs to")]
    {
        std::fs::write(&file, damaged).unwrap();
        let refused = refusal(&options).await;
        assert!(refused.to_string().contains(named), "{damaged:?}: {refused}");
    }

    // Who it is follows from the cluster; that it is the owner of the log shows that it is right.
    std::fs::remove_file(&file).unwrap();
    let server = restart(options).await;
    let kv = server.handle();
    assert_eq!(kv.member_id(), id);
    let read = kv.range(Range::new(KeyRange::Key("k".into()))).await.unwrap();
    assert_eq!(read.kvs[0].value, "v");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    drop(kv);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_never_answered_and_stops_the_member_for_good() {
    let scratch = tempfile::tempdir().unwrap();
    let options = quick(Options::single(scratch.path()));
    let server = Server::start(options.clone()).await.unwrap();
    let kv = server.handle();
    for number in 0..200 {
        put(&kv, &format!("k{number:03}"), &format!("{number:01000}")).await;
    }
    drop(kv);
    server.stop().await.unwrap();
    let tables = files(&scratch.path().join("state/db-0"), "sst");
    let table = tables.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(table).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(table, bytes).unwrap();

    // What is read at the start may meet the damage already; then nobody is served either.
    let server = match Server::start(options.clone()).await {
        Ok(server) => server,
        Err(Error::State(_)) => return,
        Err(other) => panic!("{other}"),
    };
    let kv = server.handle();
    let running = tokio::spawn(server.run(CancellationToken::new()));
    let read = kv.range(Range::new(KeyRange::prefix("k"))).await;
    assert!(matches!(read, Err(Refusal::Internal(_))), "{read:?}");
    let ended = running.await.unwrap();
    assert!(matches!(ended, Err(Error::State(_))), "{ended:?}");
    drop(kv);
    refuses_to_start(options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_version_is_refused_and_stays_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let options = quick(Options::single(scratch.path()));
    let server = Server::start(options.clone()).await.unwrap();
    put(&server.handle(), "k", "v").await;
    server.stop().await.unwrap();
    let set_format = |format| {
        let engine = RocksEngine::open(&options.data_dir.join("state")).unwrap();
        let mut batch = Batch::default();
        batch.put([&[layout::FACTS], &b"format"[..]].concat(), vec![format]);
        engine.write(&batch).unwrap();
        assert!(engine.flush().unwrap());
    };
    set_format(FORMAT - 1);
    for attempt in ["first", "second"] {
        let refused = refusal(&options).await.to_string();
        let expected =
            format!("the state is in format {}, this version reads and writes format {FORMAT}", FORMAT - 1);
        assert!(refused.contains(&expected), "{attempt}: {refused}");
    }
    set_format(FORMAT);
    let server = restart(options.clone()).await;
    let found = server.handle().range(Range::new(KeyRange::Key("k".into()))).await.unwrap();
    assert_eq!(found.kvs[0].value, "v");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_another_state_is_found_by_its_hash_and_stops() {
    let scratch = tempfile::tempdir().unwrap();
    let check = |options| Options { hash_check_interval_s: 1, ..options };
    let mut cluster = Cluster::start_with(scratch.path(), check).await;
    let leader = cluster.leader().await;
    put_surely(&cluster.handle(&leader), "k", "right").await;
    cluster.agree().await;
    let victim = cluster.follower(&leader);
    let revision = cluster.handle(&victim).revision().0;
    cluster.servers.remove(&victim).unwrap().stop().await.unwrap();
    let options = cluster.options[&victim].clone();
    {
        let engine = RocksEngine::open(&options.data_dir.join("state")).unwrap();
        let mut batch = Batch::default();
        let wrong = Version::Written { age: 0, version: 1, lease: 0, value: b"wrong" };
        batch.put(layout::version_key(b"k", revision).freeze(), wrong.encode());
        engine.write(&batch).unwrap();
        assert!(engine.flush().unwrap());
    }
    let server = restart(options.clone()).await;
    let id = server.handle().member_id();
    let ended = tokio::time::timeout(DEADLINE, server.run(CancellationToken::new())).await;
    let ended = ended.expect("the damaged member is found").unwrap_err();
    assert!(ended.to_string().contains("a majority has"), "{ended}");
    refuses_to_start(options).await;
    let leader = cluster.leader().await;
    put_surely(&cluster.handle(&leader), "k", "goes on").await;
    let alarmed = cluster.servers.values().map(Server::handle).collect::<Vec<_>>();
    wait_for("the alarm on a member", || {
        alarmed.iter().any(|handle| handle.corrupt_members() == [id]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_damaged_nothing_is_acknowledged_and_nothing_wrong_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    for number in 0..50 {
        put_surely(&cluster.handle(&leader), &format!("k{number:02}"), "right").await;
    }
    cluster.agree().await;
    let victims: Vec<_> = cluster.servers.keys().filter(|name| **name != leader).cloned().collect();
    for victim in &victims {
        cluster.servers.remove(victim).unwrap().stop().await.unwrap();
    }
    let directory = |name: &str| cluster.options[name].data_dir.clone();
    let segments = files(&directory(&victims[0]).join("raft/log"), "log");
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let state = directory(&victims[1]).join("state/db-0");
    let entries = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    for manifest in entries.filter(|path| path.to_string_lossy().contains("MANIFEST")) {
        std::fs::remove_file(manifest).unwrap();
    }
    for (victim, named) in victims.iter().zip(["amage", "MANIFEST"]) {
        let refused = format!("{:?}", refusal(&cluster.options[victim]).await);
        assert!(refused.contains(named), "{victim}: {refused}");
    }

    let kv = cluster.handle(&leader);
    let put = kv.txn(Txn { success: vec![Op::put("k00", "lost")], ..Txn::default() });
    let both = async { tokio::join!(put, kv.read_revision()) };
    let (put, read) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    put.unwrap_err();
    read.unwrap_err();
    let all = Range { serializable: true, ..Range::new(KeyRange::prefix("k")) };
    let told = kv.range(all).await.unwrap();
    assert_eq!(told.kvs.len(), 50);
    assert!(told.kvs.iter().all(|kv| kv.value == "right"), "{told:?}");
}
