//! Images of a running member, and clusters that begin with one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use proto::etcd::etcdserverpb::{SnapshotRequest, maintenance_client::MaintenanceClient};
use store::backup::directory::{Directory, Retention};
use store::backup::restore::{BUMP_DEFAULT, Moment, Plan, Restored, run};
use store::backup::{Error, Header, file};
use store::engine::{Batch, Engine, rocks::RocksEngine};
use store::machine::command::Command;
use store::mvcc::{self, facts::FORMAT};
use store::{Handle, Listeners, Options, Server};
use store_client::testing::{list, put, watch_prefix};
use store_client::{Error as Refusal, Kv, LeaseId, Op, Revision, Txn};

use crate::cluster::{bind, wait_for};
use crate::local::Local;
use crate::single::quick;

/// Saves an image of a member.
pub async fn save(handle: &Handle, path: &Path) -> Header {
    let mut pieces = handle.image().unwrap();
    let mut draft = file::Draft::create(path).unwrap();
    let mut left = None;
    while let Some(piece) = pieces.recv().await {
        let (bytes, remaining) = piece.unwrap();
        assert!(
            left.is_none_or(|left| left == remaining + bytes.len() as u64),
            "the remaining bytes count down"
        );
        left = Some(remaining);
        draft.write(&bytes).unwrap();
    }
    assert_eq!(left, Some(0));
    draft.finish().unwrap();
    file::verify(path, |_, _| Ok(())).unwrap()
}

pub fn plan(image: &Path, data_dir: PathBuf) -> Plan {
    Plan {
        image: image.to_owned(),
        data_dir,
        name: "default".into(),
        members: BTreeMap::from([("default".into(), "http://127.0.0.1:0".into())]),
        cluster_token: "kontiki".into(),
        moment: Moment::Newest,
        bump: BUMP_DEFAULT,
        mark_compacted: false,
    }
}

async fn delete(kv: &impl Kv, key: &str) {
    kv.txn(Txn { success: vec![Op::delete(key.to_owned())], ..Txn::default() }).await.unwrap();
}

async fn put_leased(kv: &impl Kv, key: &str, lease: i64) {
    let op = Op::Put {
        key: key.to_owned().into(),
        value: "leased".into(),
        lease: LeaseId(lease),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    kv.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap();
}

/// A member with some history: compacted up to 10, newest revision 26.
async fn grown(directory: &Path) -> Server {
    let server = Server::start(quick(Options::single(directory))).await.unwrap();
    let kv = server.handle();
    kv.lease_grant(LeaseId(7), 500).await.unwrap();
    kv.lease_grant(LeaseId(8), 500).await.unwrap();
    for number in 0..20 {
        put(&kv, &format!("k{}", number % 5), &number.to_string()).await;
    }
    kv.compact(Revision(10)).await.unwrap();
    put_leased(&kv, "l7", 7).await;
    put_leased(&kv, "l8", 8).await;
    delete(&kv, "k1").await;
    put(&kv, "k2", "last").await;
    kv.lease_revoke(LeaseId(8)).await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_member_has_the_content_under_revisions_never_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let server = grown(&scratch.path().join("old")).await;
    let old = server.handle();
    let image = scratch.path().join("image");
    let header = save(&old, &image).await;
    let newest = old.revision();
    assert_eq!((header.revision, header.compacted), (newest.0, 10));
    assert_eq!(header.hash, old.hash(Revision(0)).await.unwrap().0, "the hash is HashKV's");
    let before = list(&old, "", 0).await;
    assert_eq!(header.keys, before.len() as u64);

    let target = scratch.path().join("new");
    let restored = run(&plan(&image, target.clone())).unwrap();
    assert_eq!(restored.revision, newest.0 + BUMP_DEFAULT);
    assert_ne!((restored.cluster_id, restored.member_id), (old.cluster_id(), old.member_id().0));
    let again = run(&plan(&image, target.clone()));
    assert!(matches!(&again, Err(Error::Refused(detail)) if detail.contains("not empty")), "{again:?}");

    let server = Server::start(quick(Options::single(&target))).await.unwrap();
    let new = server.handle();
    assert_eq!(new.read_revision().await.unwrap(), Revision(restored.revision));
    assert_eq!(list(&new, "", 0).await, before);
    assert_eq!(new.hash(Revision(0)).await.unwrap().0, restored.hash);
    let stale = new.watch(watch_prefix("k", newest.0 + 1)).await.map(drop);
    let told = match stale {
        Err(error) => error,
        Ok(()) => {
            let mut stream = new.watch(watch_prefix("k", newest.0 + 1)).await.unwrap();
            loop {
                if let Err(error) = stream.next().await.unwrap() {
                    break error;
                }
            }
        }
    };
    assert!(matches!(told, Refusal::Compacted { .. }), "a watcher of the old cluster is told: {told}");
    let lease = new.lease_time_to_live(LeaseId(7), true).await.unwrap();
    assert_eq!(lease.keys, ["l7"]);
    new.lease_revoke(LeaseId(7)).await.unwrap();
    assert!(list(&new, "l7", 0).await.is_empty(), "keys still hang on their leases");
    assert_eq!(put(&new, "next", "1").await, Revision(restored.revision + 2));
    server.stop().await.unwrap();
    // The scrubbed member reads the same after a restart.
    drop(new);
    let server = crate::single::restart(quick(Options::single(&target))).await;
    assert_eq!(list(&server.handle(), "next", 0).await, ["next=1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_revision_of_the_image_can_be_restored() {
    let scratch = tempfile::tempdir().unwrap();
    let server = grown(&scratch.path().join("old")).await;
    let old = server.handle();
    let image = scratch.path().join("image");
    let newest = save(&old, &image).await.revision;
    for revision in [10, 15, 23, newest - 1] {
        let target = scratch.path().join(revision.to_string());
        let restored =
            run(&Plan { moment: Moment::Revision(revision), ..plan(&image, target.clone()) }).unwrap();
        assert_eq!((restored.restored, restored.revision), (revision, newest + BUMP_DEFAULT));
        let server = Server::start(quick(Options::single(&target))).await.unwrap();
        let new = server.handle();
        assert_eq!(list(&new, "", 0).await, list(&old, "", revision).await, "at {revision}");
        let leased = list(&new, "l8", 0).await;
        if !leased.is_empty() {
            // Its lease has ended since: the key is kept, and nothing will delete it.
            let found = new.range(store_client::Range::new(store_client::KeyRange::Key("l8".into()))).await;
            assert_eq!(found.unwrap().kvs[0].lease, LeaseId(0));
        }
    }
    for (moment, expect) in [
        (Moment::Revision(9), "10 to"),
        (Moment::Revision(newest + 1), "not"),
        (Moment::UnixMs(5), "does not reach back"),
    ] {
        let target = scratch.path().join("refused");
        let refused = run(&Plan { moment, ..plan(&image, target.clone()) });
        assert!(matches!(&refused, Err(Error::Refused(detail)) if detail.contains(expect)), "{refused:?}");
        assert!(!target.exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_refused_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let server = grown(&scratch.path().join("old")).await;
    let image = scratch.path().join("image");
    save(&server.handle(), &image).await;
    let good = std::fs::read(&image).unwrap();
    let target = scratch.path().join("new");
    // What a restore that was killed leaves is in nobody's way.
    std::fs::create_dir_all(scratch.path().join(".new.restoring/state/db-0")).unwrap();
    std::fs::write(scratch.path().join(".new.restoring/member.json"), "{").unwrap();
    for at in [3, 90, good.len() / 2, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 4;
        for broken in [&flipped[..], &good[..at]] {
            std::fs::write(&image, broken).unwrap();
            let refused = run(&plan(&image, target.clone()));
            assert!(matches!(&refused, Err(Error::Damaged { .. })), "at {at}: {refused:?}");
            assert!(!target.exists());
        }
    }
    std::fs::write(&image, good).unwrap();
    run(&plan(&image, target.clone())).unwrap();
    let server = Server::start(quick(Options::single(&target))).await.unwrap();
    put(&server.handle(), "k", "1").await;
    assert!(!scratch.path().join(".new.restoring").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_restored_from_one_image_are_one_cluster_and_others_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let server = grown(&scratch.path().join("old")).await;
    let image = scratch.path().join("image");
    save(&server.handle(), &image).await;
    let before = list(&server.handle(), "", 0).await;
    server.stop().await.unwrap();

    let sockets: BTreeMap<&str, _> = ["a", "b", "c", "d"].map(|name| (name, bind())).into();
    let urls = |names: &[&str]| -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), sockets[name].1.clone())).collect()
    };
    let founders = urls(&["a", "b", "c"]);
    let mut restored: Vec<Restored> = Vec::new();
    for name in founders.keys() {
        let target = scratch.path().join(name);
        let plan = Plan { name: name.clone(), members: founders.clone(), ..plan(&image, target) };
        restored.push(run(&plan).unwrap());
    }
    assert!(restored.windows(2).all(|pair| pair[0].cluster_id == pair[1].cluster_id));
    assert!(restored.windows(2).all(|pair| pair[0].hash == pair[1].hash));

    let mut servers = BTreeMap::new();
    for name in ["a", "b", "c"] {
        let options = quick(Options::member(name, scratch.path().join(name), founders.clone()));
        let listeners = Listeners { peer: vec![sockets[name].0.try_clone().unwrap()], client: Vec::new() };
        servers.insert(name, Server::start_on(options, listeners).await.unwrap());
    }
    let kv = servers["b"].handle();
    assert_eq!(wait_until_written(&kv, "k9", "new").await.0, restored[0].revision + 1);
    assert_eq!(list(&kv, "k9", 0).await, ["k9=new"]);
    let mut expected = before;
    expected.push("k9=new".to_owned());
    expected.sort();

    // One that joins is sent the state, although the log is short: no log leads to an image.
    let id = raft::MemberId(99);
    let member = raft::Member { name: "d".into(), peer_url: sockets["d"].1.clone(), client_urls: Vec::new() };
    let leader =
        wait_for("a leader", || servers.values().map(Server::handle).find(|h| h.leadership_now().is_self));
    leader.await.raft().add_learner(id, member).await.unwrap();
    let joining = scratch.path().join("d");
    std::fs::create_dir(&joining).unwrap();
    let identity = serde_json::json!({
        "id": id.0, "cluster_id": restored[0].cluster_id, "cluster_token": "kontiki"
    });
    std::fs::write(joining.join("member.json"), identity.to_string()).unwrap();
    let options = Options {
        cluster_state: store::ClusterState::Existing,
        ..quick(Options::member("d", &joining, urls(&["a", "b", "c", "d"])))
    };
    let listeners = Listeners { peer: vec![sockets["d"].0.try_clone().unwrap()], client: Vec::new() };
    servers.insert("d", Server::start_on(options, listeners).await.unwrap());
    let newest = kv.read_revision().await.unwrap();
    let mut hashes = Vec::new();
    for server in servers.values() {
        let handle = server.handle();
        wait_for("all to catch up", || (handle.revision() >= newest).then_some(())).await;
        hashes.push(handle.hash(newest).await.unwrap());
        let mut found = list(&handle, "", 0).await;
        found.sort();
        assert_eq!(found, expected);
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "S5: {hashes:?}");
}

async fn wait_until_written(kv: &Handle, key: &str, value: &str) -> Revision {
    let until = tokio::time::Instant::now() + store_client::testing::DEADLINE;
    loop {
        let txn = Txn { success: vec![Op::put(key.to_owned(), value.to_owned())], ..Txn::default() };
        match kv.txn(txn).await {
            Ok(done) => return done.revision,
            Err(error) => assert!(tokio::time::Instant::now() < until, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_clients_are_sent_the_image() {
    let scratch = tempfile::tempdir().unwrap();
    let (socket, url) = bind();
    let options = quick(Options::single(scratch.path().join("old")));
    let listeners = Listeners { peer: Vec::new(), client: vec![socket] };
    let server = Server::start_on(options, listeners).await.unwrap();
    let kv = server.handle();
    for number in 0..300 {
        put(&kv, &format!("k{number}"), &"v".repeat(4000)).await;
    }
    let mut client = MaintenanceClient::connect(url).await.unwrap();
    let mut stream = client.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let (mut bytes, mut messages, mut remaining) = (Vec::new(), 0, 0);
    while let Some(message) = stream.message().await.unwrap() {
        assert_eq!(message.version, "3.6.0");
        assert_eq!(message.header.unwrap().revision, 301);
        messages += 1;
        remaining = message.remaining_bytes;
        bytes.extend(message.blob);
    }
    assert_eq!(remaining, 0);
    assert!(messages > 4, "it comes in pieces");
    let image = scratch.path().join("image");
    std::fs::write(&image, bytes).unwrap();
    assert_eq!(file::verify(&image, |_, _| Ok(())).unwrap().keys, 300);
}

fn origin(made_unix_ms: u64) -> store::backup::export::Origin {
    store::backup::export::Origin { cluster_id: 1, member_id: 2, made_unix_ms }
}

fn put_bulk(local: &Local, prefix: &str) {
    for number in 0..200 {
        // Not to be compressed to nothing: the files are to have some size.
        let value: String =
            (0..50).map(|at| format!("{:x}", (number * 7919 + at * 104_729) % 65_536)).collect();
        let put = Op::put(format!("{prefix}{number}"), value);
        local.run(Command::Txn(Txn { success: vec![put], ..Txn::default() })).unwrap();
    }
}

#[test]
fn a_directory_of_backups_copies_only_what_is_new_and_restores_each() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Arc::new(RocksEngine::open(&scratch.path().join("state")).unwrap());
    let local = Local::new(engine);
    let root = scratch.path().join("backups");
    let checkpoint = scratch.path().join("checkpoint");
    let directory = Directory::open(&root).unwrap();
    assert!(Directory::open(&root).is_err(), "one at a time");
    let add = |made: u64| local.machine.backup(&directory, origin(made), &checkpoint, |_| Ok(())).unwrap();
    put_bulk(&local, "a");
    let first = add(1_000_000);
    assert_eq!(first.bytes, first.bytes_new);
    put_bulk(&local, "b");
    let second = add(2_000_000);
    assert!(second.bytes_new < second.bytes && second.bytes > first.bytes, "{second:?} after {first:?}");
    assert!(!checkpoint.exists());
    assert_eq!(directory.names().unwrap(), [first.name.clone(), second.name.clone()]);
    assert_eq!(directory.verify(|name, detail| panic!("{name}: {detail}")).unwrap(), 2);

    let image = scratch.path().join("image");
    for (made, keys) in [(&first, 200), (&second, 400)] {
        let header = directory.image(&made.name, &image, &scratch.path().join("assembled")).unwrap();
        assert_eq!((header.revision, header.keys), (made.revision, keys));
        assert_eq!(file::verify(&image, |_, _| Ok(())).unwrap(), header);
        let target = scratch.path().join(&made.name);
        assert_eq!(run(&plan(&image, target)).unwrap().keys, keys);
    }
    let refused = local
        .machine
        .backup(&directory, origin(3_000_000), &checkpoint, |_| Err(Error::Refused("no room".to_owned())));
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(directory.names().unwrap().len(), 2, "a backup is there or not");
    assert!(!checkpoint.exists());

    // Retention removes the backup, and of its files those that the other has not.
    let count = || std::fs::read_dir(root.join("files")).unwrap().count();
    let before = count();
    assert_eq!(directory.retain(Retention::Seconds(500), 2_000_000).unwrap(), 1);
    assert_eq!(directory.names().unwrap(), std::slice::from_ref(&second.name));
    assert!(count() < before);
    assert_eq!(directory.verify(|name, detail| panic!("{name}: {detail}")).unwrap(), 1);
    assert_eq!(directory.retain(Retention::Seconds(1), u64::MAX).unwrap(), 0, "the newest stays");

    let manifest = directory.manifest(&second.name).unwrap();
    let table = manifest.files.iter().find(|part| part.name.ends_with(".sst")).unwrap();
    let path = root.join("files").join(&table.sha256);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut wrong = Vec::new();
    assert_eq!(directory.verify(|_, detail| wrong.push(detail)).unwrap(), 0);
    assert!(wrong.len() == 1 && wrong[0].contains(&table.name), "{wrong:?}");
    let refused = directory.image(&second.name, &image, &scratch.path().join("assembled"));
    assert!(matches!(&refused, Err(Error::Refused(detail)) if detail.contains("damaged")), "{refused:?}");
}

#[test]
fn a_backup_that_another_version_made_is_not_taken_for_ours() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Arc::new(RocksEngine::open(&scratch.path().join("state")).unwrap());
    let local = Local::new(engine.clone());
    put_bulk(&local, "a");
    let mut batch = Batch::default();
    batch.put(&b"mformat"[..], vec![FORMAT - 1]);
    engine.write(&batch).unwrap();
    let directory = Directory::open(&scratch.path().join("backups")).unwrap();
    let made =
        local.machine.backup(&directory, origin(1), &scratch.path().join("checkpoint"), |_| Ok(())).unwrap();
    let image = scratch.path().join("image");
    let refused = directory.image(&made.name, &image, &scratch.path().join("assembled"));
    let expected = Error::State(mvcc::Error::Format { found: FORMAT - 1 });
    assert_eq!(refused.unwrap_err().to_string(), expected.to_string());
    assert!(!image.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_backs_itself_up_on_a_schedule() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("backups");
    let options = Options {
        backup_dir: Some(root.clone()),
        backup_interval_s: 1,
        backup_retention: Retention::Count(1),
        ..quick(Options::single(scratch.path().join("member")))
    };
    let server = Server::start(options).await.unwrap();
    put(&server.handle(), "k", "v").await;
    let newest = || {
        let directory = Directory::open(&root).ok()?;
        directory.names().ok()?.pop()
    };
    let first = wait_for("a backup", newest).await;
    wait_for("the next", || newest().filter(|name| *name != first)).await;
    server.stop().await.unwrap();
    let directory = Directory::open(&root).unwrap();
    assert_eq!(directory.verify(|name, detail| panic!("{name}: {detail}")).unwrap(), 1);
}
