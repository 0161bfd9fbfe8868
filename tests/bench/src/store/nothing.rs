//! A server of etcd's calls that does nothing, as anybody would write it with tonic: what it costs, gRPC costs.

use std::{pin::Pin, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use proto::etcd::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest,
        LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
        LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
        TxnRequest, TxnResponse, WatchRequest, WatchResponse,
        kv_server::{Kv, KvServer},
        lease_server::{Lease, LeaseServer},
        watch_server::{Watch, WatchServer},
    },
    mvccpb::{Event, KeyValue},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

use super::work;

/// Events that wait for a client to read; those beyond are not sent.
const WATCH_QUEUE_MAX: usize = 1024;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

type Watcher = mpsc::Sender<Result<WatchResponse, Status>>;

/// Serves on a free port of loopback, and prints the address.
pub async fn serve() -> anyhow::Result<()> {
    let incoming =
        TcpIncoming::bind(([127, 0, 0, 1], 0).into()).context("listening")?.with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    let nothing = Nothing::default();
    Ok(tonic::transport::Server::builder()
        .add_service(KvServer::new(nothing.clone()))
        .add_service(LeaseServer::new(nothing.clone()))
        .add_service(WatchServer::new(nothing))
        .serve_with_incoming(incoming)
        .await?)
}

/// Whatever is put is sent to all who watch anything.
#[derive(Clone, Default)]
struct Nothing {
    watchers: Arc<Mutex<Vec<Watcher>>>,
}

fn event(key: Bytes, value: Bytes) -> WatchResponse {
    let kv = Some(KeyValue { key, value, ..KeyValue::default() });
    WatchResponse { events: vec![Event { kv, ..Event::default() }], ..WatchResponse::default() }
}

#[tonic::async_trait]
impl Kv for Nothing {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let mut watchers = self.watchers.lock();
        if !watchers.is_empty() {
            let PutRequest { key, value, .. } = request.into_inner();
            let event = event(key, value);
            watchers.retain(|watcher| {
                !matches!(watcher.try_send(Ok(event.clone())), Err(mpsc::error::TrySendError::Closed(_)))
            });
        }
        Ok(Response::new(PutResponse::default()))
    }

    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let value = Bytes::from_static(&[b'v'; work::VALUE_BYTES]);
        let kv = KeyValue { key: Bytes::from_static(b"a key"), value, ..KeyValue::default() };
        Ok(Response::new(RangeResponse { kvs: vec![kv], count: 1, ..RangeResponse::default() }))
    }

    type RangeStreamStream = futures::stream::Empty<Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Ok(Response::new(futures::stream::empty()))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(DeleteRangeResponse::default()))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse::default()))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(CompactionResponse::default()))
    }
}

#[tonic::async_trait]
impl Watch for Nothing {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE_MAX);
        let watchers = self.watchers.clone();
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            while let Ok(Some(_create)) = requests.message().await {
                if sender.send(Ok(WatchResponse { created: true, ..WatchResponse::default() })).await.is_err()
                {
                    return;
                }
                watchers.lock().push(sender.clone());
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Lease for Nothing {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let ttl = request.into_inner().ttl;
        Ok(Response::new(LeaseGrantResponse { id: 1, ttl, ..LeaseGrantResponse::default() }))
    }

    type LeaseKeepAliveStream = Messages<LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let alive = |LeaseKeepAliveRequest { id }| LeaseKeepAliveResponse { id, ttl: 1, header: None };
        Ok(Response::new(Box::pin(request.into_inner().map(move |request| request.map(alive)))))
    }

    async fn lease_revoke(
        &self,
        _: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        Ok(Response::new(LeaseRevokeResponse::default()))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        Ok(Response::new(LeaseTimeToLiveResponse::default()))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        Ok(Response::new(LeaseLeasesResponse::default()))
    }
}
