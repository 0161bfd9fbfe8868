//! Watches of users: checked when they begin, and again when users or roles change.

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::etcdserverpb::watch_request::RequestUnion;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Line, READ, Store, add_role, grant_role, put, revoke_role};

struct Watching {
    requests: tokio::sync::mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn start(line: &Line, key: &str, end: &str) -> Self {
        let (requests, queue) = tokio::sync::mpsc::channel(4);
        requests.send(create(key, end)).await.unwrap();
        let answers = WatchClient::new(line.clone()).watch(ReceiverStream::new(queue)).await.unwrap();
        Self { requests, answers: answers.into_inner() }
    }

    async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(store_client::testing::DEADLINE, self.answers.message());
        next.await.expect("something is said in time").unwrap().unwrap()
    }
}

fn create(key: &str, end: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: true,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
const NOBODY: &str = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
const BAD_TOKEN: &str = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_needs_the_right_to_all_its_keys() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    store.with_users(&[("ann", &[(READ, "a/", "a0"), (READ, "z", "\0")])]).await;
    let ann = store.user("ann").await;
    let table = [
        ("a/", "a0", None),
        ("a/1", "", None),
        ("z", "\0", None),
        ("a/", "\0", Some(DENIED)),
        ("", "\0", Some(DENIED)),
        ("b", "", Some(DENIED)),
    ];
    for (key, end, refused) in table {
        let answer = Watching::start(&ann, key, end).await.next().await;
        assert!(answer.created);
        match refused {
            None => assert!(!answer.canceled, "{key} {end}: {answer:?}"),
            Some(reason) => {
                assert_eq!((answer.canceled, answer.watch_id), (true, -1), "{key} {end}");
                assert_eq!(answer.cancel_reason, reason);
            }
        }
    }
    let nobody = Watching::start(&store.nobody().await, "a/", "a0").await.next().await;
    assert!(nobody.canceled);
    assert_eq!(nobody.cancel_reason, NOBODY);
    let stranger = super::line(&store.url, Some("abc.7".into())).await;
    let stranger = Watching::start(&stranger, "a/", "a0").await.next().await;
    assert_eq!(stranger.cancel_reason, BAD_TOKEN);
}

/// X22.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_the_right_to_it_does() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let root = store.with_users(&[("ann", &[(READ, "own", "")])]).await;
    add_role(&root, "guest", &[(READ, "k", "")]).await;
    grant_role(&root, "ann", "guest").await.unwrap();
    let ann = store.user("ann").await;
    let mut watching = Watching::start(&ann, "k", "").await;
    assert!(watching.next().await.created);
    watching.requests.send(create("own", "")).await.unwrap();
    assert!(watching.next().await.created);
    put(&root, "k", "1").await.unwrap();
    assert_eq!(watching.next().await.events.len(), 1);

    let asked = tokio::time::Instant::now();
    revoke_role(&root, "ann", "guest").await.unwrap();
    put(&root, "k", "secret").await.unwrap();
    let ended = watching.next().await;
    assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
    assert_eq!((ended.watch_id, ended.cancel_reason.as_str()), (0, DENIED));
    assert!(asked.elapsed().as_secs() < 10);
    put(&root, "own", "1").await.unwrap();
    assert_eq!(watching.next().await.watch_id, 1, "the other one goes on");

    // Another password is another user.
    let mut auth = AuthClient::new(root.clone());
    let password =
        pb::AuthUserChangePasswordRequest { name: "ann".into(), password: "x".into(), ..Default::default() };
    auth.user_change_password(password).await.unwrap();
    assert_eq!(watching.next().await.cancel_reason, BAD_TOKEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_watches_end_when_auth_is_switched_on() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let nobody = store.nobody().await;
    let mut watching = Watching::start(&nobody, "k", "").await;
    assert!(watching.next().await.created);
    put(&nobody, "k", "1").await.unwrap();
    assert_eq!(watching.next().await.events.len(), 1);
    store.with_users(&[]).await;
    let ended = watching.next().await;
    assert_eq!((ended.canceled, ended.cancel_reason.as_str()), (true, NOBODY));
}
