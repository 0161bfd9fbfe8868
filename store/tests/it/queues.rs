//! Locks and elections: one at a time, in order of arrival, and nobody waits for the dead.

use proto::etcd::v3electionpb::{self as election, election_client::ElectionClient};
use proto::etcd::v3lockpb::{self as lock, lock_client::LockClient};
use store::{Handle, Server};
use store_client::{KeyRange, Kv, LeaseId, Range};
use tonic::Code;
use tonic::transport::Channel;

use crate::single::serve;

struct Store {
    _server: Server,
    _scratch: tempfile::TempDir,
    handle: Handle,
    channel: Channel,
}

async fn start() -> Store {
    let scratch = tempfile::tempdir().unwrap();
    let (server, url) = serve(scratch.path()).await;
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    Store { handle: server.handle(), _server: server, _scratch: scratch, channel }
}

impl Store {
    async fn lease(&self, id: i64) -> i64 {
        self.handle.lease_grant(LeaseId(id), 600).await.unwrap().id.0
    }

    /// How many stand in a queue.
    async fn queued(&self, name: &str) -> i64 {
        let keys = KeyRange::prefix(format!("{name}/"));
        self.handle.range(Range { count_only: true, ..Range::new(keys) }).await.unwrap().count
    }

    async fn wait_queued(&self, name: &str, count: i64) {
        let wait = async {
            while self.queued(name).await != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .expect("the queue has that length");
    }

    fn lock(
        &self,
        name: &'static str,
        lease: i64,
    ) -> tokio::task::JoinHandle<Result<lock::LockResponse, tonic::Status>> {
        let mut client = LockClient::new(self.channel.clone());
        let request = lock::LockRequest { name: name.into(), lease };
        tokio::spawn(async move { client.lock(request).await.map(tonic::Response::into_inner) })
    }

    fn election(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.channel.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_passes_from_one_to_the_next() {
    let store = start().await;
    let (first, second, third) = (store.lease(1).await, store.lease(2).await, store.lease(3).await);
    let held = store.lock("l", first).await.unwrap().unwrap();
    assert_eq!(held.key.as_ref(), b"l/1", "etcd's clients can wait in the same queue");
    let again = store.lock("l", first).await.unwrap().unwrap();
    assert_eq!(again.key, held.key, "the holder may ask again");
    let waiting = store.lock("l", second);
    store.wait_queued("l", 2).await;
    let last = store.lock("l", third);
    store.wait_queued("l", 3).await;
    assert!(!waiting.is_finished() && !last.is_finished());
    LockClient::new(store.channel.clone()).unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
    let passed = waiting.await.unwrap().unwrap();
    assert_eq!(passed.key.as_ref(), b"l/2");
    assert!(!last.is_finished(), "nobody passes two");
    store.handle.lease_revoke(LeaseId(second)).await.unwrap();
    assert_eq!(last.await.unwrap().unwrap().key.as_ref(), b"l/3", "the dead hold nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_leaves_the_queue() {
    let store = start().await;
    let (first, second, third) = (store.lease(1).await, store.lease(2).await, store.lease(3).await);
    let held = store.lock("l", first).await.unwrap().unwrap();
    let impatient = store.lock("l", second);
    store.wait_queued("l", 2).await;
    impatient.abort();
    store.wait_queued("l", 1).await;
    let doomed = store.lock("l", third);
    store.wait_queued("l", 2).await;
    store.handle.lease_revoke(LeaseId(third)).await.unwrap();
    LockClient::new(store.channel.clone()).unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
    let error = doomed.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unknown, "mutex: session is expired"));
    let error = store.lock("l", 99).await.unwrap().unwrap_err();
    assert_eq!(error.message(), "etcdserver: requested lease not found");
    assert!(store.lock("l", 0).await.unwrap().is_ok(), "without a lease, one is granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_has_one_leader_at_a_time() {
    let story = tokio::time::timeout(std::time::Duration::from_secs(30), election_story());
    story.await.expect("nobody waits in vain");
}

async fn election_story() {
    let store = start().await;
    let (first, second) = (store.lease(1).await, store.lease(2).await);
    let campaign = |lease, value: &'static str| election::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
    };
    let none = store.election().leader(election::LeaderRequest { name: "e".into() }).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::Unknown, "election: no leader"));
    let observer = store.election().observe(election::LeaderRequest { name: "e".into() }).await;
    let mut observer = observer.unwrap().into_inner();

    let leader =
        store.election().campaign(campaign(first, "one")).await.unwrap().into_inner().leader.unwrap();
    assert_eq!(observer.message().await.unwrap().unwrap().kv.unwrap().value.as_ref(), b"one");
    let mut client = store.election();
    let request = campaign(second, "two");
    let waiting = tokio::spawn(async move { client.campaign(request).await });
    store.wait_queued("e", 2).await;
    assert!(!waiting.is_finished());

    let proclaim = |leader, value: &'static str| election::ProclaimRequest { leader, value: value.into() };
    store.election().proclaim(proclaim(Some(leader.clone()), "uno")).await.unwrap();
    assert_eq!(observer.message().await.unwrap().unwrap().kv.unwrap().value.as_ref(), b"uno");
    store.election().resign(election::ResignRequest { leader: Some(leader.clone()) }).await.unwrap();
    let next = waiting.await.unwrap().unwrap().into_inner().leader.unwrap();
    assert!(next.rev > leader.rev, "the token grows");
    assert_eq!(observer.message().await.unwrap().unwrap().kv.unwrap().value.as_ref(), b"two");

    let error = store.election().proclaim(proclaim(Some(leader), "late")).await.unwrap_err();
    assert_eq!(error.message(), "election: not leader");
    let error = store.election().proclaim(proclaim(None, "whose")).await.unwrap_err();
    assert_eq!(error.message(), "\"leader\" field must be provided");
    let again =
        store.election().campaign(campaign(second, "deux")).await.unwrap().into_inner().leader.unwrap();
    assert_eq!(again.rev, next.rev, "who leads and campaigns again changes the value");
    assert_eq!(observer.message().await.unwrap().unwrap().kv.unwrap().value.as_ref(), b"deux");
}
