//! Alarms: raised by members and by people, ended by their cause or by hand.

use std::net::TcpListener;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use store::{Handle, Listeners, Options, Server};
use store_client::{Kv, Op, Txn};
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::{Cluster, put_surely, wait_for};
use crate::single::{quick, restart};

const NO_SPACE: i32 = pb::AlarmType::Nospace as i32;

async fn connect(url: &str) -> Channel {
    Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap()
}

/// Asks, and returns whom which alarms concern.
async fn alarm(channel: &Channel, action: AlarmAction, member_id: u64, alarm: i32) -> Vec<(u64, i32)> {
    let mut client = pb::maintenance_client::MaintenanceClient::new(channel.clone());
    let request = pb::AlarmRequest { action: action.into(), member_id, alarm };
    let answer = client.alarm(request).await.unwrap().into_inner();
    answer.alarms.iter().map(|one| (one.member_id, one.alarm)).collect()
}

async fn put(channel: &Channel) -> Result<(), (Code, String)> {
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let told = |status: tonic::Status| (status.code(), status.message().to_owned());
    kv.put(put).await.map(drop).map_err(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_raised_by_hand_refuses_writes_until_it_is_ended_by_hand() {
    let scratch = tempfile::tempdir().unwrap();
    let start = |client: TcpListener| {
        let options = quick(Options::single(scratch.path()));
        Server::start_on(options, Listeners { peer: vec![], client: vec![client] })
    };
    let client = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", client.local_addr().unwrap());
    let server = start(client).await.unwrap();
    let channel = connect(&url).await;
    put(&channel).await.unwrap();
    assert_eq!(alarm(&channel, AlarmAction::Get, 0, 0).await, []);
    assert_eq!(alarm(&channel, AlarmAction::Deactivate, 7, NO_SPACE).await, [], "there is none");
    assert_eq!(alarm(&channel, AlarmAction::Activate, 7, 0).await, [], "of no kind");
    for _ in 0..2 {
        assert_eq!(alarm(&channel, AlarmAction::Activate, 7, NO_SPACE).await, [(7, NO_SPACE)]);
    }
    let refused = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_owned());
    assert_eq!(put(&channel).await, Err(refused.clone()));
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    kv.range(pb::RangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    drop((kv, channel));
    server.stop().await.unwrap();

    let client = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", client.local_addr().unwrap());
    let server = start(client).await.unwrap();
    server.handle().read_revision().await.unwrap();
    let channel = connect(&url).await;
    assert_eq!(put(&channel).await, Err(refused), "a restart ends no alarm");
    assert_eq!(alarm(&channel, AlarmAction::Get, 0, NO_SPACE).await, [(7, NO_SPACE)]);
    assert_eq!(alarm(&channel, AlarmAction::Get, 0, pb::AlarmType::Corrupt.into()).await, []);
    assert_eq!(alarm(&channel, AlarmAction::Deactivate, 7, NO_SPACE).await, [(7, NO_SPACE)]);
    assert_eq!(alarm(&channel, AlarmAction::Get, 0, 0).await, []);
    put(&channel).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_known_everywhere_until_there_is_space() {
    let scratch = tempfile::tempdir().unwrap();
    let needy = |options: Options| match options.name.as_str() {
        "c" => Options { free_bytes_min: u64::MAX, ..options },
        _ => options,
    };
    let mut cluster = Cluster::start_with(scratch.path(), needy).await;
    put_surely(&cluster.handle("a"), "k", "1").await;
    let full = cluster.handle("c").member_id().0;
    let channel = connect(&cluster.client_urls[0]).await;
    let until = tokio::time::Instant::now() + store_client::testing::DEADLINE;
    while alarm(&channel, AlarmAction::Get, 0, 0).await != [(full, NO_SPACE)] {
        assert!(tokio::time::Instant::now() < until, "nobody is told");
        tokio::task::yield_now().await;
    }
    let refuses = |handle: Handle| async move {
        let put = Txn { success: vec![Op::put("k", "2")], ..Txn::default() };
        handle.txn(put).await.is_err()
    };
    assert!(refuses(cluster.handle("c")).await);
    assert!(!refuses(cluster.handle("a")).await, "those with space go on");

    cluster.servers.remove("c").unwrap().stop().await.unwrap();
    let options = Options { free_bytes_min: 0, ..cluster.options["c"].clone() };
    cluster.servers.insert("c".to_owned(), restart(options).await);
    let handle = cluster.handle("c");
    wait_for("space", || (!handle.no_space()).then_some(())).await;
    while !alarm(&channel, AlarmAction::Get, 0, 0).await.is_empty() {
        assert!(tokio::time::Instant::now() < until, "the alarm stays");
        tokio::task::yield_now().await;
    }
    assert!(!refuses(handle).await);
}
