//! Promises of a group of members, each with its own directory and a real server on loopback.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use kontiki_raft::disk::SimDisk;
use kontiki_raft::{Error, LogIndex, MemberId, Node, Options, PeerTls, Seams, Status, Work};
use support::Trouble::{Fails, Panics};
use support::{Cluster, Running, command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_replicates_to_itself_and_remembers() {
    let mut cluster = Cluster::new(1).await;
    for number in 0..20 {
        let proposed = cluster.handle(1).propose(command(number)).await.unwrap();
        assert_eq!(proposed.response, Bytes::from(format!("{}", number + 1)));
    }
    assert!(matches!(cluster.handle(1).initialize(cluster.members(1)).await, Err(Error::AlreadyInitialized)));
    cluster.stop(1).await;
    cluster.start(1).await;
    cluster.leader().await;
    cluster.handle(1).read_index().await.unwrap();
    assert_eq!(cluster.commands(1).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_takes_proposals_and_any_member_reads_them() {
    let cluster = Cluster::new(3).await;
    for number in 0..30 {
        let proposer = number % 3 + 1;
        let proposed = cluster.handle(proposer).propose(command(number)).await.unwrap();
        assert_eq!(proposed.response, Bytes::from(format!("{}", number + 1)));
        let reader = (number + 1) % 3 + 1;
        let index = cluster.handle(reader).read_index().await.unwrap();
        assert!(index >= proposed.index);
        assert!(
            cluster.commands(reader).contains(&command(number)),
            "a read misses an acknowledged write (S4)"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_syncs() {
    let cluster = Cluster::new(3).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..100_u64 {
        let handle = cluster.handle(client % 3 + 1);
        clients.spawn(async move {
            for number in 0..10 {
                handle.propose(command(client * 10 + number)).await.unwrap();
            }
        });
    }
    while let Some(joined) = clients.join_next().await {
        joined.unwrap();
    }
    for id in 1..=3 {
        cluster.handle(id).read_index().await.unwrap();
    }
    let expected = cluster.commands(1);
    assert_eq!(expected.len(), 1000);
    assert_eq!(cluster.commands(2), expected, "members disagree (S5)");
    assert_eq!(cluster.commands(3), expected, "members disagree (S5)");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_confirmed_over_links_slower_than_the_signs_of_life() {
    let cluster = Cluster::far_apart(3, Duration::from_millis(80)).await;
    let leader = cluster.leader().await;
    for reader in 1..=3 {
        let proposed = cluster.handle(leader).propose(command(reader)).await.unwrap();
        let began = Instant::now();
        let index = cluster.handle(reader).read_index().await.unwrap();
        assert!(index >= proposed.index);
        assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::new(3).await;
    for number in 0..50 {
        cluster.handle(1).propose(command(number)).await.unwrap();
    }
    let lost = cluster.leader().await;
    cluster.kill(lost).await;
    let survivor = if lost == 1 { 2 } else { 1 };
    let again = cluster.handle(survivor).propose(command(50)).await.unwrap();
    assert_eq!(again.response, Bytes::from("51"));
    cluster.handle(survivor).read_index().await.unwrap();
    assert_eq!(cluster.commands(survivor), (0..=50).map(command).collect::<Vec<_>>());
    assert_ne!(cluster.leader().await, lost);

    cluster.start(lost).await;
    cluster.handle(lost).read_index().await.unwrap();
    assert_eq!(cluster.commands(lost), cluster.commands(survivor));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_the_loss_of_all_members_at_once() {
    let mut cluster = Cluster::new(3).await;
    for number in 0..50 {
        cluster.handle(number % 3 + 1).propose(command(number)).await.unwrap();
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    for id in 1..=3 {
        cluster.handle(id).read_index().await.unwrap();
        assert_eq!(cluster.commands(id), (0..50).map(command).collect::<Vec<_>>(), "member {id} (S2)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_fell_far_behind_gets_an_image() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let behind = leader % 3 + 1;
    cluster.handle(leader).propose(command(0)).await.unwrap();
    cluster.kill(behind).await;
    for number in 1..200 {
        cluster.handle(leader).propose(command(number)).await.unwrap();
    }
    cluster.handle(leader).snapshot().await.unwrap();
    support::wait_for("the log to be purged", || {
        cluster.handle(leader).status().purged_index > LogIndex(150)
    })
    .await;
    cluster.start(behind).await;
    cluster.handle(behind).read_index().await.unwrap();
    assert_eq!(cluster.commands(behind), (0..200).map(command).collect::<Vec<_>>());
    assert_eq!(cluster.machine(behind).restored(), 1);

    // What it was given is durable.
    cluster.handle(leader).propose(command(200)).await.unwrap();
    cluster.handle(behind).read_index().await.unwrap();
    cluster.kill(behind).await;
    cluster.start(behind).await;
    cluster.handle(behind).read_index().await.unwrap();
    assert_eq!(cluster.commands(behind).len(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_made_durable_after_few_large_commands() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    for _ in 0..60 {
        cluster.handle(leader).propose(vec![7; 16 << 10].into()).await.unwrap();
    }
    for id in 1..=3 {
        support::wait_for("the log to be purged", || {
            let status = cluster.handle(id).status();
            status.snapshot_index > LogIndex(0) && status.purged_index > LogIndex(0)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_large_commands_the_log_keeps_fewer() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    // The two segments that stay hold three of them each, and ten would stay if their size did not count.
    for _ in 0..16 {
        cluster.handle(leader).propose(vec![7; 4 << 20].into()).await.unwrap();
    }
    for id in 1..=3 {
        support::wait_for("the log to be purged by its size", || {
            let status = cluster.handle(id).status();
            status.purged_index > LogIndex(0) && status.snapshot_index.0 - status.purged_index.0 < 10
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_short_of_space_keeps_little_of_its_log() {
    let cluster = Cluster::new(1).await;
    for _ in 0..5 {
        cluster.handle(1).propose(vec![7; 4 << 20].into()).await.unwrap();
    }
    // Two segments, and fewer entries than are kept in any case.
    assert_eq!(cluster.handle(1).status().purged_index, LogIndex(0));
    cluster.handle(1).set_short_of_space(true);
    support::wait_for("the log to be purged", || cluster.handle(1).status().purged_index > LogIndex(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let mut cluster = Cluster::new(1).await;
    for number in 0..10 {
        cluster.handle(1).propose(command(number)).await.unwrap();
    }
    for id in 2..=3 {
        let member = cluster.prepare(id).await;
        cluster.handle(1).add_learner(MemberId(id), member).await.unwrap();
        cluster.handle(1).promote(MemberId(id)).await.unwrap();
        cluster.handle(1).promote(MemberId(id)).await.unwrap();
    }
    cluster.handle(3).read_index().await.unwrap();
    assert_eq!(cluster.commands(3).len(), 10);
    let status = cluster.handle(1).status();
    assert!(status.members.values().all(|(_, voter)| *voter), "{status:?}");

    cluster.handle(1).transfer_leadership(MemberId(2)).await.unwrap();
    assert_eq!(cluster.leader().await, 2);
    cluster.handle(2).remove(MemberId(1)).await.unwrap();
    cluster.kill(1).await;
    cluster.handle(3).propose(command(10)).await.unwrap();
    assert_eq!(cluster.handle(2).status().members.len(), 2);
    let unknown = cluster.handle(2).promote(MemberId(9)).await;
    assert!(matches!(unknown, Err(Error::Membership(_))), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_in_place_only_as_long_as_it_is_alone() {
    let delay = Duration::from_millis(40);
    let mut cluster = Cluster::far_apart(1, delay).await;
    let handle = cluster.handle(1);
    let proposed = handle.propose(command(0)).await.unwrap();
    support::wait_for("its metrics", || handle.status().applied >= proposed.index).await;
    let read = handle.read_index().now_or_never().expect("nobody has to be asked");
    assert!(read.unwrap() >= proposed.index);

    for id in 2..=3 {
        let member = cluster.prepare(id).await;
        handle.add_learner(MemberId(id), member).await.unwrap();
        handle.promote(MemberId(id)).await.unwrap();
    }
    let begin = std::time::Instant::now();
    assert!(handle.read_index().await.unwrap() >= proposed.index);
    assert!(begin.elapsed() >= delay, "the others have to be asked");
    cluster.kill(2).await;
    cluster.kill(3).await;
    let read = handle.read_index().await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.handle(leader).propose(command(0)).await.unwrap();
    let other = cluster.handle(leader % 3 + 1);
    let mut leadership = other.leadership();
    let term = leadership.borrow().term;
    cluster.stop(leader).await;
    // Known at once, without an election timeout of a second: the old leader waited for it.
    let heir = leadership.wait_for(|now| now.term > term);
    tokio::time::timeout(Duration::from_millis(900), heir).await.unwrap().unwrap();
    cluster.leader().await;
    other.propose(command(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_stops_waits_for_what_it_sent_on() {
    let mut cluster = Cluster::far_apart(3, Duration::from_millis(40)).await;
    let leader = cluster.leader().await;
    let follower = leader % 3 + 1;
    let (handle, leading) = (cluster.handle(follower), cluster.handle(leader));
    let LogIndex(before) = handle.propose(command(99)).await.unwrap().index;
    let mut proposals = tokio::task::JoinSet::new();
    for number in 0..50 {
        let handle = handle.clone();
        proposals.spawn(async move { handle.propose(command(number)).await });
    }
    // The leader has them, and its answers are far away.
    support::wait_for("fifty entries", || leading.status().last_index.0 >= before + 50).await;
    cluster.stop(follower).await;
    while let Some(proposed) = proposals.join_next().await {
        proposed.unwrap().expect("what was sent is answered");
    }
    assert!(matches!(handle.propose(command(50)).await, Err(Error::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_can_move() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let moving = leader % 3 + 1;
    cluster.kill(moving).await;
    let member = cluster.relocate(moving).await;
    cluster.handle(leader).update(MemberId(moving), member).await.unwrap();
    let proposed = cluster.handle(leader).propose(command(0)).await.unwrap();
    support::wait_for("the member that moved", || cluster.handle(moving).status().applied >= proposed.index)
        .await;
    assert_eq!(cluster.commands(moving), [command(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_acknowledged_and_nothing_is_read() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.handle(leader).propose(command(0)).await.unwrap();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id).await;
    }
    let handle = cluster.handle(leader);
    let (proposed, read) = tokio::join!(handle.propose(command(1)), handle.read_index());
    assert!(matches!(proposed, Err(Error::Unknown { .. } | Error::NoLeader)), "{proposed:?}");
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_makes_way_and_comes_back_as_a_follower() {
    let cluster = Cluster::on_simulated_disks(3).await;
    let hung = cluster.leader().await;
    cluster.handle(hung).propose(command(0)).await.unwrap();
    cluster.disk(hung).hang(true);
    let since = Instant::now();
    // This one is lost or not; it makes the disk owe something.
    let lost = cluster.handle(hung);
    let lost = tokio::spawn(async move { lost.propose(command(1)).await });
    let other = cluster.handle(hung % 3 + 1);
    support::wait_for("another leader", || {
        let now = *other.leadership().borrow();
        now.leader.is_some_and(|leader| leader != MemberId(hung))
    })
    .await;
    // One election timeout to notice, and time for the heir, or for an election where it does not take over.
    assert!(since.elapsed() < Duration::from_millis(3500), "{:?}", since.elapsed());
    other.propose(command(2)).await.unwrap();
    cluster.disk(hung).hang(false);
    drop(lost.await.unwrap());
    let last = other.propose(command(3)).await.unwrap();
    support::wait_for("the member to catch up", || cluster.handle(hung).status().applied >= last.index).await;
    other.read_index().await.unwrap();
    assert_eq!(cluster.commands(hung).last(), Some(&command(3)));
}

#[tokio::test]
async fn a_member_without_threads_does_not_start_on_its_runtime_while_its_disk_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { id: MemberId(1), data_dir: directory.path().into(), ..Options::default() };
    let disk = SimDisk::default();
    disk.hang(true);
    let seams = Seams { disk: Arc::new(disk.clone()), work: Work::Inline, ..Seams::default() };
    let mut started = std::pin::pin!(Node::start_on(options, support::journal(), None, seams));
    assert!(futures::poll!(&mut started).is_pending(), "whoever shares the thread goes on");
    disk.hang(false);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    started.await.unwrap().run(shutdown).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_refuse_writes_keep_reading_and_recover_by_themselves() {
    let cluster = Cluster::on_simulated_disks(3).await;
    let leader = cluster.leader().await;
    cluster.handle(leader).propose(command(0)).await.unwrap();
    for id in 1..=3 {
        cluster.disk(id).set_capacity(Some(cluster.disk(id).used()));
    }
    let large = || Bytes::from(vec![7; 100 << 10]);
    let mut refused = None;
    for _ in 0..20 {
        if let Err(error) = cluster.handle(leader % 3 + 1).propose(large()).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(Error::NoSpace)), "{refused:?}");
    cluster.handle(leader % 3 + 1).read_index().await.unwrap();
    for id in 1..=3 {
        cluster.disk(id).set_capacity(None);
    }
    let recovered = tokio::time::timeout(Duration::from_secs(10), async {
        while let Err(error) = cluster.handle(1).propose(command(1)).await {
            assert!(matches!(error, Error::NoSpace), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    recovered.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_disk_takes_no_part_under_its_old_id() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.handle(leader).propose(command(0)).await.unwrap();
    let wiped = leader % 3 + 1;
    cluster.kill(wiped).await;
    cluster.wipe(wiped);
    cluster.start(wiped).await;
    // It would start as if it had never been there, and vote again.
    let members = cluster.members(3);
    drop(cluster.handle(wiped).initialize(members).await);
    let ended = cluster.wait_end(wiped).await.unwrap_err().to_string();
    assert!(ended.contains("add it as a new member"), "{ended}");
    cluster.kill(wiped).await;

    let proposed = cluster.handle(leader).propose(command(1)).await.unwrap();
    cluster.handle(leader).remove(MemberId(wiped)).await.unwrap();
    let member = cluster.prepare(4).await;
    let again = cluster.handle(leader).add_learner(MemberId(wiped), member.clone()).await;
    assert!(matches!(&again, Err(Error::Membership(text)) if text.contains("not used again")), "{again:?}");
    cluster.handle(leader).add_learner(MemberId(4), member).await.unwrap();
    cluster.handle(leader).promote(MemberId(4)).await.unwrap();
    cluster.handle(4).read_index().await.unwrap();
    assert!(cluster.handle(4).status().applied >= proposed.index);
    assert_eq!(cluster.commands(4), [command(0), command(1)]);
}

/// From the loss of a leader to the first write through another member: `cargo test -p kontiki-raft --test cluster takes
/// -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; on demand"]
async fn how_long_a_failover_takes() {
    let mut cluster = Cluster::new(3).await;
    let (mut elected, mut written) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let leader = cluster.leader().await;
        cluster.handle(leader).propose(command(round)).await.unwrap();
        let survivor = cluster.handle(leader % 3 + 1);
        let mut leadership = survivor.leadership();
        let term = leadership.borrow().term;
        let begin = Instant::now();
        cluster.kill(leader).await;
        let known = async {
            leadership.wait_for(|now| now.term > term && now.leader.is_some()).await.unwrap();
            begin.elapsed()
        };
        let (known, proposed) = tokio::join!(known, survivor.propose(command(1000 + round)));
        proposed.unwrap();
        elected.push(known.as_millis());
        written.push(begin.elapsed().as_millis());
        cluster.start(leader).await;
    }
    for (what, mut times) in [("a leader is known", elected), ("the first write", written)] {
        times.sort_unstable();
        println!("{what}: median {} ms, longest {} ms", times[times.len() / 2], times[times.len() - 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_grow_and_shrink_under_load() {
    let mut cluster = Cluster::new(1).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let numbers = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let ended = CancellationToken::new();
    // Proposes through whoever is there; every number once, the next when the last was answered.
    let through = Arc::new(parking_lot::Mutex::new(cluster.handle(1)));
    let load = tokio::spawn({
        let (acknowledged, ended, through) = (Arc::clone(&acknowledged), ended.clone(), Arc::clone(&through));
        let numbers = Arc::clone(&numbers);
        async move {
            for number in 0.. {
                if ended.is_cancelled() {
                    break;
                }
                let handle = through.lock().clone();
                match handle.propose(command(number)).await {
                    Ok(_) => {
                        numbers.lock().push(number);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    // The leader went away with it: it may be there or not.
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => panic!("proposal {number}: {error}"),
                }
            }
        }
    });
    for id in 2..=5 {
        let member = cluster.prepare(id).await;
        let leader = cluster.handle(id - 1);
        leader.add_learner(MemberId(id), member).await.unwrap();
        leader.promote(MemberId(id)).await.unwrap();
    }
    let voters = |status: Status| status.members.values().filter(|(_, voter)| *voter).count();
    support::wait_for("five voters", || voters(cluster.handle(5).status()) == 5).await;
    // Whoever leads goes first, so that every removal is that of a leader.
    let mut left: Vec<u64> = (1..=5).collect();
    while left.len() > 1 {
        let leader = cluster.leader_among(&left).await;
        let stays = *left.iter().find(|id| **id != leader).unwrap();
        *through.lock() = cluster.handle(stays);
        let before = acknowledged.load(Ordering::Relaxed);
        cluster.handle(stays).remove(MemberId(leader)).await.unwrap();
        left.retain(|id| *id != leader);
        support::wait_for("writes after a removal", || acknowledged.load(Ordering::Relaxed) > before + 5)
            .await;
        support::wait_for("the removal to be known", || {
            let members = cluster.handle(stays).status().members;
            members.keys().map(|id| id.0).eq(left.iter().copied())
        })
        .await;
    }
    ended.cancel();
    load.await.unwrap();
    let last = left[0];
    cluster.handle(last).read_index().await.unwrap();
    let mut found = cluster.commands(last).into_iter();
    for number in numbers.lock().iter() {
        assert!(
            found.any(|command| command == support::command(*number)),
            "{number} is lost or out of order (S2)"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused() {
    let cluster = Cluster::new(1).await;
    let foreign = Running::foreign(99).await;
    let mut member = cluster.members(1)[&MemberId(1)].clone();
    member.peer_url = foreign.url();
    cluster.handle(1).add_learner(MemberId(7), member).await.unwrap();
    // It never receives the log, so it is never promoted; asking does not harm the group.
    let promoted =
        tokio::time::timeout(Duration::from_millis(500), cluster.handle(1).promote(MemberId(7))).await;
    assert!(!matches!(promoted, Ok(Ok(()))));
    cluster.handle(1).propose(command(0)).await.unwrap();
    assert!(!foreign.handle().is_initialized());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused() {
    let cluster = Cluster::new(1).await;
    let large = Bytes::from(vec![0; (8 << 20) + 1]);
    assert!(matches!(cluster.handle(1).propose(large).await, Err(Error::TooLarge { .. })));
    cluster.handle(1).propose(Bytes::from(vec![0; 4 << 20])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_state_machine_stops_the_member() {
    // Of two batches one is applied at once.
    for (trouble, before) in [(Fails, 0), (Fails, 1), (Panics, 0), (Panics, 1)] {
        let mut cluster = Cluster::new(1).await;
        for number in 0..before {
            cluster.handle(1).propose(command(number)).await.unwrap();
        }
        cluster.machine(1).trouble(trouble);
        assert!(cluster.handle(1).propose(command(9)).await.is_err());
        let ended = cluster.wait_end(1).await;
        assert!(matches!(ended, Err(Error::Storage { .. })), "{trouble:?} after {before}: {ended:?}");
        assert!(matches!(cluster.handle(1).propose(command(10)).await, Err(Error::Stopped)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_with_keys_of_one_authority_talk_and_others_do_not() {
    let (ours, theirs) = (support::our_keys(), support::foreign_keys());
    let keys = BTreeMap::from([(1, ours.clone()), (2, ours.clone()), (3, theirs)]);
    let cluster = Cluster::with_tls_quorum(3, keys, &[1, 2]).await;
    for number in 0..10 {
        cluster.handle(number % 2 + 1).propose(command(number)).await.unwrap();
    }
    cluster.handle(2).read_index().await.unwrap();
    assert_eq!(cluster.commands(2).len(), 10);
    assert!(cluster.commands(3).is_empty());
    assert!(!cluster.handle(3).is_initialized());
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_keys_are_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { id: MemberId(1), data_dir: directory.path().into(), ..Options::default() };
    let tls = PeerTls { cert_pem: b"no certificate".to_vec(), ..support::our_keys() };
    let started = Node::start(options, support::journal(), Some(watch::channel(tls).1)).await;
    assert!(matches!(started.err(), Some(Error::Tls { .. })));
}
