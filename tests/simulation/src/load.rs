//! Clients: those of the fault tests, and more that read many keys, hold leases, compact, and change the membership. All of them
//! live on one host, which never fails, and go from member to member.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use check::kv::{Action, Answer, Call, Cell};
use check::linear::Timed;
use check::watch::Kinds;
use faults_tests::limits::{CALL, KEYS};
use faults_tests::watcher::{self, Plan, Told};
use faults_tests::workload::{self, Client, PREFIX, Reads, Record, value_number};
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::invariants::leases::Lease;
use crate::invariants::reads::Read;
use crate::ledger::{LEASED, Ledger};
use crate::limits::{CLIENTS, HAND_OVER_PAUSE, HAND_OVER_READS, LESSEES, ORDER, ORDER_PAUSE};
use crate::site::{client_url, peer_url};
use crate::wire;

/// What an operator is to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Add a member of this name.
    Add(String),
    /// Remove the member of this name.
    Remove(String),
    /// Have the member of this name lead, perhaps deafening the one that leads now.
    Lead {
        /// Who.
        name: String,
        /// Whether.
        deaf: bool,
    },
}

/// What clients share with the driver.
pub struct Desk {
    /// Where it is noted.
    pub ledger: Ledger,
    /// The members' names.
    pub members: Mutex<Vec<String>>,
    /// Calls on single keys.
    pub record: Record,
    /// Reads of all keys.
    pub reads: Mutex<Vec<Read>>,
    /// Leases, by id.
    pub leases: Mutex<HashMap<i64, Lease>>,
    /// Watches.
    pub watches: Vec<(Plan, Told)>,
    /// Watches from where history was compacted to.
    pub late: Mutex<Vec<(Plan, Told)>>,
    /// What is still to be done.
    pub orders: Mutex<VecDeque<Order>>,
    /// What was done.
    pub done: Mutex<Vec<Order>>,
    /// Who is asked to hand over, and must not hear from the others from now on.
    pub deafened: Mutex<Vec<String>>,
    /// Ends the calls.
    pub stop: CancellationToken,
    /// All calls have ended.
    pub quiet: CancellationToken,
    /// Whether somebody compacts.
    pub compacts: bool,
    /// Chooses.
    pub seed: u64,
}

impl Desk {
    fn chance(&self, of: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ (of << 40))
    }

    fn any(&self, chance: &mut StdRng) -> Channel {
        let members = self.members.lock();
        channel(&members[chance.random_range(0..members.len())])
    }

    fn now_ms(&self) -> u64 {
        self.ledger.now_ms()
    }
}

fn channel(member: &str) -> Channel {
    let endpoint = Endpoint::from_shared(client_url(member)).expect("a name makes a URL");
    wire::dial(endpoint.connect_timeout(CALL / 4).timeout(CALL))
}

/// What the host of the clients runs.
pub async fn run(desk: Arc<Desk>) {
    let begin = Instant::now();
    let (mut calls, mut tasks) = (JoinSet::new(), JoinSet::new());
    for number in 0..CLIENTS as u64 {
        calls.spawn(client(desk.clone(), number + 1, begin));
    }
    for number in 0..LESSEES {
        calls.spawn(lessee(desk.clone(), number, begin));
    }
    calls.spawn(historian(desk.clone(), begin));
    calls.spawn(reader(desk.clone(), begin));
    if desk.compacts {
        calls.spawn(compactor(desk.clone()));
    }
    tasks.spawn(operator(desk.clone(), begin));
    for (at, (plan, told)) in desk.watches.iter().enumerate() {
        let members: Vec<Channel> = desk
            .members
            .lock()
            .iter()
            .map(|member| wire::dial(watcher::endpoint(client_url(member))))
            .collect();
        tasks.spawn(watcher::run(*plan, members, at, told.clone(), CancellationToken::new()));
    }
    while calls.join_next().await.is_some() {}
    desk.quiet.cancel();
    while tasks.join_next().await.is_some() {}
    std::future::pending().await
}

fn now_ns(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).expect("a run takes less than centuries")
}

/// A client of the fault tests, on one member after another.
async fn client(desk: Arc<Desk>, number: u64, begin: Instant) {
    let mut chance = desk.chance(number);
    for session in 0.. {
        if desk.stop.is_cancelled() {
            return;
        }
        let over = desk.stop.child_token();
        let member = desk.any(&mut chance);
        let client = Client::new(number * 1000 + session, &[member], begin, desk.seed, Reads::Linearizable);
        let time = Duration::from_millis(chance.random_range(300..1500));
        let ends = async {
            pause(&desk, time).await;
            over.cancel();
        };
        tokio::join!(client.run(desk.record.clone(), over.clone()), ends);
    }
}

/// Reads all keys, by agreement or not.
async fn reader(desk: Arc<Desk>, begin: Instant) {
    let mut chance = desk.chance(100);
    while !desk.stop.is_cancelled() {
        let mut kv = KvClient::new(desk.any(&mut chance));
        for _ in 0..6 {
            let agreed = chance.random_range(0..2) == 0;
            read_all(&desk, &mut kv, agreed, begin).await;
            sleep(Duration::from_millis(chance.random_range(20..90))).await;
        }
    }
}

async fn read_all(desk: &Desk, kv: &mut KvClient<Channel>, agreed: bool, begin: Instant) {
    let request = pb::RangeRequest {
        key: PREFIX.into(),
        range_end: "w0".into(),
        serializable: !agreed,
        ..Default::default()
    };
    let invoked = now_ns(begin);
    if let Ok(Ok(answer)) = timeout(CALL, kv.range(request)).await
        && let Some(read) = understood(&answer.into_inner(), invoked, agreed)
    {
        desk.ledger.note(format_args!("read of all at {}", read.revision));
        desk.reads.lock().push(read);
    }
}

/// Reads from a leader that hands over, and may not know that another leads.
async fn read_on(desk: &Desk, leader: Channel, begin: Instant) {
    for _ in 0..HAND_OVER_READS {
        let turn = sleep(HAND_OVER_PAUSE);
        let mut kv = KvClient::new(leader.clone());
        drop(timeout(HAND_OVER_PAUSE, read_all(desk, &mut kv, true, begin)).await);
        turn.await;
    }
}

fn understood(answer: &pb::RangeResponse, invoked: u64, agreed: bool) -> Option<Read> {
    let revision = answer.header.as_ref()?.revision;
    let mut cells = vec![None; KEYS];
    for kv in &answer.kvs {
        let cell = Cell { value: value_number(&kv.value)?, revision: kv.mod_revision };
        *cells.get_mut(workload::key_number(&kv.key)?)? = Some(cell);
    }
    Some(Read { invoked, agreed, revision, cells })
}

/// Compacts now and then, up to a little before the head.
async fn compactor(desk: Arc<Desk>) {
    let (mut chance, mut late) = (desk.chance(200), JoinSet::new());
    while !desk.stop.is_cancelled() {
        sleep(Duration::from_millis(chance.random_range(200..700))).await;
        let mut kv = KvClient::new(desk.any(&mut chance));
        let read = timeout(CALL, kv.range(pb::RangeRequest { key: "x".into(), ..Default::default() })).await;
        let Ok(Ok(answer)) = read else { continue };
        let newest = answer.into_inner().header.map_or(0, |header| header.revision);
        let revision = newest - chance.random_range(0..30);
        if revision > 1 {
            let compacted =
                timeout(CALL, kv.compact(pb::CompactionRequest { revision, physical: false })).await;
            if matches!(compacted, Ok(Ok(_))) {
                desk.ledger.note(format_args!("compacted {revision}"));
                desk.ledger.books().coverage.hit("compactions");
                let member = {
                    let members = desk.members.lock();
                    members[chance.random_range(0..members.len())].clone()
                };
                late.spawn(watch_from(desk.clone(), revision, member));
            }
        }
    }
}

/// Watches from a revision on, shortly.
async fn watch_from(desk: Arc<Desk>, from: i64, member: String) {
    let plan = Plan { from, key: None, kinds: Kinds::Both, previous: false };
    let told = Told::default();
    desk.late.lock().push((plan, told.clone()));
    let stop = desk.stop.child_token();
    let member = wire::dial(watcher::endpoint(client_url(&member)));
    let watching = watcher::run(plan, vec![member], 0, told, stop.clone());
    drop(timeout(Duration::from_millis(400), watching).await);
}

/// Writes in transactions that read the past, which may be compacted: then nothing is written, on no member.
async fn historian(desk: Arc<Desk>, begin: Instant) {
    let mut chance = desk.chance(500);
    for turn in 1_u64.. {
        pause(&desk, Duration::from_millis(chance.random_range(40..200))).await;
        if desk.stop.is_cancelled() {
            return;
        }
        let (key, value) = (chance.random_range(0..KEYS), 800_000_000_000 + turn);
        let newest = desk.ledger.books().revisions.newest();
        let revision = (newest - chance.random_range(0..60)).max(1);
        let mut kv = KvClient::new(desk.any(&mut chance));
        let invoked = now_ns(begin);
        let answer = timeout(CALL, kv.txn(remember(key, value, revision))).await;
        let header = answer.ok().and_then(Result::ok).and_then(|answer| answer.into_inner().header);
        let answer = header.map(|header| Answer::Changed { revision: header.revision });
        let call = Call { action: Action::Put { key, value }, answer };
        desk.record.note(Timed { invoked, returned: answer.map(|_| now_ns(begin)), call });
    }
}

fn remember(key: usize, value: u64, revision: i64) -> pb::TxnRequest {
    use pb::request_op::Request;
    let put =
        pb::PutRequest { key: workload::key(key), value: value.to_string().into(), ..Default::default() };
    let past = pb::RangeRequest { key: workload::key(key), revision, ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let success = vec![op(Request::RequestPut(put)), op(Request::RequestRange(past))];
    pb::TxnRequest { success, ..Default::default() }
}

/// Holds one lease after another, with a key each: renews it for a while, then revokes it or lets it end.
async fn lessee(desk: Arc<Desk>, number: usize, begin: Instant) {
    let mut chance = desk.chance(300 + number as u64);
    for turn in 1.. {
        if desk.stop.is_cancelled() {
            return;
        }
        let id = (number as i64 + 1) * 1_000_000 + turn;
        let ttl_s = chance.random_range(1..3);
        if tenancy(&desk, &mut chance, (id, number, ttl_s), begin).await.is_err() {
            pause(&desk, Duration::from_millis(200)).await;
        }
    }
}

/// Waits, unless everything is to end.
async fn pause(desk: &Desk, time: Duration) {
    drop(timeout(time, desk.stop.cancelled()).await);
}

async fn tenancy(
    desk: &Desk,
    chance: &mut StdRng,
    (id, number, ttl_s): (i64, usize, i64),
    begin: Instant,
) -> Result<(), Status> {
    let late = |_| Status::deadline_exceeded("no answer");
    let mut leases = LeaseClient::new(desk.any(chance));
    let lease = Lease { key: KEYS + number, ttl_ms: ttl_s as u64 * 1000, ..Lease::default() };
    desk.leases.lock().insert(id, lease);
    let change = |change: &dyn Fn(&mut Lease)| {
        if let Some(lease) = desk.leases.lock().get_mut(&id) {
            change(lease);
        }
    };
    let asked = desk.now_ms();
    let grant = pb::LeaseGrantRequest { ttl: ttl_s, id };
    timeout(CALL, leases.lease_grant(grant)).await.map_err(late)??;
    change(&|lease| lease.renewed_ms.push(asked));
    desk.ledger.note(format_args!("lease {id} granted"));
    let revision = attach(desk, chance, id, number, begin).await?;
    change(&|lease| lease.attached = Some(revision));
    for _ in 0..chance.random_range(0..12) {
        pause(desk, Duration::from_millis(ttl_s as u64 * 1000 / 3)).await;
        if desk.stop.is_cancelled() {
            break;
        }
        let asked = desk.now_ms();
        match timeout(CALL, renew(&mut leases, id)).await {
            Ok(Ok(0)) => {
                desk.ledger.note(format_args!("lease {id} was gone"));
                return Ok(());
            }
            Ok(Ok(_)) => {
                change(&|lease| lease.renewed_ms.push(asked));
                desk.ledger.books().coverage.hit("leases renewed");
            }
            Ok(Err(_)) | Err(_) => leases = LeaseClient::new(desk.any(chance)),
        }
    }
    if chance.random_range(0..3) == 0 {
        let now = desk.now_ms();
        change(&|lease| lease.given_up_ms = Some(now));
        timeout(CALL, leases.lease_revoke(pb::LeaseRevokeRequest { id })).await.map_err(late)??;
        desk.ledger.books().coverage.hit("leases revoked");
        return Ok(());
    }
    pause(desk, Duration::from_millis(ttl_s as u64 * 1000 + 600)).await;
    Ok(())
}

async fn renew(leases: &mut LeaseClient<Channel>, id: i64) -> Result<i64, Status> {
    let request = futures::stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut answers = leases.lease_keep_alive(request).await?.into_inner();
    Ok(answers.message().await?.map_or(0, |answer| answer.ttl))
}

/// Writes the key of a lease.
async fn attach(
    desk: &Desk,
    chance: &mut StdRng,
    id: i64,
    number: usize,
    begin: Instant,
) -> Result<i64, Status> {
    let mut kv = KvClient::new(desk.any(chance));
    let value = 900_000_000_000 + id as u64;
    let request = pb::PutRequest {
        key: format!("{LEASED}{number}").into(),
        value: value.to_string().into(),
        lease: id,
        ..Default::default()
    };
    let invoked = now_ns(begin);
    let answer = timeout(CALL, kv.put(request)).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer")).and_then(|answer| answer);
    let revision = answer
        .as_ref()
        .ok()
        .and_then(|answer| answer.get_ref().header.as_ref().map(|header| header.revision));
    let action = Action::Put { key: KEYS + number, value };
    let call = Call { action, answer: revision.map(|revision| Answer::Changed { revision }) };
    desk.record.note(Timed { invoked, returned: revision.map(|_| now_ns(begin)), call });
    revision.ok_or_else(|| answer.err().unwrap_or_else(|| Status::internal("no header")))
}

/// Does what is ordered, one after the other, as long as it takes.
async fn operator(desk: Arc<Desk>, begin: Instant) {
    let mut chance = desk.chance(400);
    loop {
        let order = desk.orders.lock().pop_front();
        let Some(order) = order else {
            sleep(ORDER_PAUSE / 4).await;
            continue;
        };
        let tries = async {
            while let Err(status) = carry_out(&desk, &order, desk.any(&mut chance), begin).await {
                desk.ledger.note(format_args!("{order:?} is refused: {}", status.code()));
                sleep(ORDER_PAUSE).await;
            }
        };
        let outcome = timeout(ORDER, tries).await;
        desk.ledger.note(format_args!("{order:?}: {}", if outcome.is_ok() { "done" } else { "given up" }));
        if outcome.is_ok() {
            desk.done.lock().push(order);
        }
    }
}

async fn carry_out(desk: &Desk, order: &Order, member: Channel, begin: Instant) -> Result<(), Status> {
    let mut cluster = ClusterClient::new(member.clone());
    let within = |_| Status::deadline_exceeded("no answer");
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true });
    let members = timeout(CALL, list).await.map_err(within)??.into_inner().members;
    let find = |name: &str| {
        let url = peer_url(name);
        members.iter().find(|member| member.peer_ur_ls.contains(&url)).map(|member| member.id)
    };
    match order {
        Order::Add(name) if find(name).is_none() => {
            let request = pb::MemberAddRequest { peer_ur_ls: vec![peer_url(name)], is_learner: false };
            timeout(CALL, cluster.member_add(request)).await.map_err(within)??;
        }
        Order::Add(_) => {}
        Order::Remove(name) => {
            if let Some(id) = find(name) {
                timeout(CALL, cluster.member_remove(pb::MemberRemoveRequest { id }))
                    .await
                    .map_err(within)??;
            }
        }
        Order::Lead { name, deaf } => {
            if let Some(target_id) = find(name) {
                let mut maintenance = MaintenanceClient::new(member);
                let status = maintenance.status(pb::StatusRequest::default());
                let leads = timeout(CALL, status).await.map_err(within)??.into_inner().leader;
                let leads = members.iter().find(|member| member.id == leads).map(|member| &member.peer_ur_ls);
                let names = desk.members.lock().clone();
                let leader =
                    names.iter().find(|name| leads.is_some_and(|urls| urls.contains(&peer_url(name))));
                let leader = leader.ok_or_else(|| Status::unavailable("nobody leads"))?;
                hand_over(desk, leader, target_id, *deaf, begin).await;
            }
        }
    }
    Ok(())
}

/// Asks the leader to have another member lead; perhaps so that it hears nothing of how that goes.
async fn hand_over(desk: &Desk, leader: &str, target_id: u64, deaf: bool, begin: Instant) {
    let mut maintenance = MaintenanceClient::new(channel(leader));
    let moved = timeout(CALL, maintenance.move_leader(pb::MoveLeaderRequest { target_id }));
    let moved = if deaf {
        desk.deafened.lock().push(leader.to_owned());
        tokio::join!(moved, read_on(desk, channel(leader), begin)).0
    } else {
        moved.await
    };
    // Whoever is asked to lead may be down; then there is nothing to wait for.
    if let Ok(Ok(_)) = moved {
        desk.ledger.books().coverage.hit("leaders that handed over when asked to");
    }
}
