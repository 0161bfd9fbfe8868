//! The etcd v3 API over a real connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use prost::Message;
use proto::etcd::etcdserverpb as pb;
use store::Server;
use store_client::remote::{self, RemoteKv};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::single::serve;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_store_passes_the_suite() {
    let scratch = tempfile::tempdir().unwrap();
    let servers = Mutex::new(Vec::new());
    let count = AtomicU32::new(0);
    store_client::testing::suite(|| async {
        let directory = scratch.path().join(count.fetch_add(1, Ordering::SeqCst).to_string());
        let (server, url) = serve(&directory).await;
        servers.lock().unwrap().push(server);
        RemoteKv::new(remote::Options { endpoints: vec![url], ..Default::default() }).unwrap()
    })
    .await;
}

struct Client {
    _server: Server,
    _scratch: tempfile::TempDir,
    kv: pb::kv_client::KvClient<Channel>,
    watch: pb::watch_client::WatchClient<Channel>,
    cluster: pb::cluster_client::ClusterClient<Channel>,
    maintenance: pb::maintenance_client::MaintenanceClient<Channel>,
}

async fn client() -> Client {
    let scratch = tempfile::tempdir().unwrap();
    let (server, url) = serve(scratch.path()).await;
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    Client {
        _server: server,
        _scratch: scratch,
        kv: pb::kv_client::KvClient::new(channel.clone()),
        watch: pb::watch_client::WatchClient::new(channel.clone()),
        cluster: pb::cluster_client::ClusterClient::new(channel.clone()),
        maintenance: pb::maintenance_client::MaintenanceClient::new(channel),
    }
}

impl Client {
    async fn put(&mut self, key: &str, value: &str) -> i64 {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest { key, value, ..Default::default() };
        self.kv.put(request).await.unwrap().into_inner().header.unwrap().revision
    }

    async fn range(&mut self, request: pb::RangeRequest) -> Vec<String> {
        let found = self.kv.range(request).await.unwrap().into_inner();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect()
    }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_sort_filter_and_cut_as_etcd_does() {
    use pb::range_request::{SortOrder, SortTarget};
    let mut client = client().await;
    client.put("a", "3").await;
    client.put("b", "1").await;
    client.put("c", "2").await;
    client.put("a", "3").await;
    let sorted = |target: SortTarget, order: SortOrder| pb::RangeRequest {
        sort_target: target.into(),
        sort_order: order.into(),
        ..all()
    };
    let table = [
        (all(), vec!["a=3", "b=1", "c=2"]),
        (sorted(SortTarget::Key, SortOrder::Descend), vec!["c=2", "b=1", "a=3"]),
        (sorted(SortTarget::Value, SortOrder::Ascend), vec!["b=1", "c=2", "a=3"]),
        (sorted(SortTarget::Mod, SortOrder::None), vec!["b=1", "c=2", "a=3"]),
        (sorted(SortTarget::Create, SortOrder::Descend), vec!["c=2", "b=1", "a=3"]),
        (
            pb::RangeRequest { limit: 1, keys_only: true, ..sorted(SortTarget::Value, SortOrder::Descend) },
            vec!["a="],
        ),
        (pb::RangeRequest { min_mod_revision: 4, ..all() }, vec!["a=3", "c=2"]),
        (pb::RangeRequest { max_create_revision: 3, ..all() }, vec!["a=3", "b=1"]),
    ];
    for (request, expect) in table {
        assert_eq!(client.range(request.clone()).await, expect, "{request:?}");
    }
    let counted = client.kv.range(pb::RangeRequest { count_only: true, ..all() }).await.unwrap().into_inner();
    assert_eq!((counted.count, counted.kvs.len()), (3, 0));
    let header = counted.header.unwrap();
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term > 0 && header.revision == 5);
}

/// What a stream says, put together as the protocol says: messages merged.
async fn merged(client: &mut Client, request: pb::RangeRequest) -> (pb::RangeResponse, usize) {
    let mut pages = client.kv.range_stream(request).await.unwrap().into_inner();
    let (mut whole, mut last, mut count) = (pb::RangeResponse::default(), pb::RangeResponse::default(), 0);
    while let Some(page) = pages.message().await.unwrap() {
        assert_eq!((last.header, last.more, last.count), (None, false, 0), "only the last one says it");
        last = page.range_response.unwrap();
        assert!(last.encoded_len() <= 2 << 20, "{} bytes", last.encoded_len());
        whole.merge(last.encode_to_vec().as_slice()).unwrap();
        count += 1;
    }
    (whole, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_range_is_the_range() {
    let mut client = client().await;
    for number in 0..1100 {
        client.put(&format!("k/{number:04}"), "v").await;
    }
    let large = "x".repeat(600_000);
    for number in 0..5 {
        client.put(&format!("l/{number}"), &large).await;
    }
    let some = |key: &'static str, end: &'static str| pb::RangeRequest {
        key: key.into(),
        range_end: end.into(),
        ..Default::default()
    };
    for (request, messages) in [
        (all(), 4),
        (pb::RangeRequest { limit: 1050, ..all() }, 2),
        (pb::RangeRequest { limit: 1000, ..all() }, 1),
        (pb::RangeRequest { limit: 1100, revision: 1000, ..all() }, 1),
        (pb::RangeRequest { keys_only: true, ..some("l/", "l0") }, 1),
        (pb::RangeRequest { count_only: true, limit: 3, ..all() }, 1),
        (some("k/0007", ""), 1),
        (some("nothing", ""), 1),
        (some("x", "a"), 1),
        (some("l/", "l0"), 3),
    ] {
        let expected = client.kv.range(request.clone()).await.unwrap().into_inner();
        let (found, count) = merged(&mut client, request.clone()).await;
        assert!(found == expected, "{request:?}: {} of {} keys", found.count, expected.count);
        assert_eq!(count, messages, "{request:?}");
    }
    let sorted = pb::RangeRequest { min_mod_revision: 4, ..all() };
    assert_eq!(client.kv.range_stream(sorted).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_etcds_codes() {
    let mut client = client().await;
    client.put("a", "1").await;
    let refused = |status: tonic::Status| (status.code(), status.message().to_owned());
    let future = client.kv.range(pb::RangeRequest { revision: 9, ..all() }).await.unwrap_err();
    let expect = "etcdserver: mvcc: required revision is a future revision".to_owned();
    assert_eq!(refused(future), (Code::OutOfRange, expect));
    let empty = client.kv.put(pb::PutRequest::default()).await.unwrap_err();
    assert_eq!(refused(empty), (Code::InvalidArgument, "etcdserver: key is not provided".to_owned()));
    let huge = pb::PutRequest { key: "k".into(), value: vec![0; 1_600_000].into(), ..Default::default() };
    let large = client.kv.put(huge).await.unwrap_err();
    assert_eq!(refused(large), (Code::InvalidArgument, "etcdserver: request is too large".to_owned()));
    let get = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(all())) };
    let many = pb::TxnRequest { success: vec![get; 129], ..Default::default() };
    let many = client.kv.txn(many).await.unwrap_err();
    let expect = "etcdserver: too many operations in txn request".to_owned();
    assert_eq!(refused(many), (Code::InvalidArgument, expect));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_share_a_stream() {
    use pb::watch_create_request::FilterType;
    use pb::watch_request::RequestUnion;
    let mut client = client().await;
    client.put("a", "1").await;
    let (requests, outgoing) = tokio::sync::mpsc::channel(16);
    let send = async |union| requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    let create = |key: &'static str, start_revision, watch_id| {
        RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: key.into(),
            start_revision,
            watch_id,
            ..Default::default()
        })
    };
    send(create("a", 2, 0)).await;
    let mut answers = client.watch.watch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let mut next = async || {
        tokio::time::timeout(store_client::testing::DEADLINE, answers.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    let created = next().await;
    assert!(created.created && created.watch_id == 0);
    let history = next().await;
    assert_eq!((history.watch_id, history.events.len()), (0, 1));

    send(create("b", 0, 7)).await;
    assert!(next().await.created);
    send(create("b", 0, 7)).await;
    let duplicate = next().await;
    assert!(duplicate.created && duplicate.canceled && duplicate.watch_id == -1, "{duplicate:?}");

    client.put("b", "1").await;
    let change = next().await;
    assert_eq!((change.watch_id, change.header.unwrap().revision), (7, 3));
    send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = next().await;
    assert_eq!((progress.watch_id, progress.events.len(), progress.header.unwrap().revision), (-1, 0, 3));

    send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 7 })).await;
    let canceled = next().await;
    assert!(canceled.canceled && canceled.watch_id == 7);

    let deletions = pb::WatchCreateRequest {
        key: "c".into(),
        filters: vec![FilterType::Noput.into()],
        prev_kv: true,
        ..Default::default()
    };
    send(RequestUnion::CreateRequest(deletions)).await;
    let id = next().await.watch_id;
    client.put("c", "1").await;
    client.kv.delete_range(pb::DeleteRangeRequest { key: "c".into(), ..Default::default() }).await.unwrap();
    let deleted = next().await;
    assert_eq!((deleted.watch_id, deleted.events.len()), (id, 1));
    assert_eq!(deleted.events[0].prev_kv.as_ref().unwrap().value, "1");

    client.kv.compact(pb::CompactionRequest { revision: 4, physical: false }).await.unwrap();
    send(create("a", 2, 0)).await;
    assert!(next().await.created);
    let compacted = next().await;
    assert!(compacted.canceled && compacted.compact_revision == 4, "{compacted:?}");
}

/// Of a member, as one answers that has only just started.
async fn listed_by(url: &str) -> Vec<pb::Member> {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
    let mut cluster = pb::cluster_client::ClusterClient::new(channel);
    cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner().members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_list_of_members_says_where_the_one_who_answers_serves() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let (_server, url) = serve(directory.path()).await;
        assert_eq!(listed_by(&url).await[0].client_ur_ls, [url]);
    }
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path()).await;
    for url in &cluster.client_urls {
        let listed = listed_by(url).await;
        assert!(listed.iter().any(|member| member.client_ur_ls.contains(url)), "{url} is not in {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_status_are_told() {
    let mut client = client().await;
    client.put("a", "1").await;
    let listed =
        client.cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!(listed.members.len(), 1);
    let status = client.maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.leader, listed.members[0].id);
    assert!(status.raft_index > 0 && status.errors.is_empty(), "{status:?}");
    let hash = client.maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.hash_revision, hash.compact_revision), (2, 0));
    let missing = client.cluster.member_remove(pb::MemberRemoveRequest { id: 1 }).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "etcdserver: member not found"));
}
