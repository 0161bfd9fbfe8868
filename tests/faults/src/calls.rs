//! What the tests ask of members, besides what their clients ask.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::Cluster;
use crate::limits::{CALL, POLL, READY};
use crate::workload::PREFIX;

impl Cluster {
    /// Waits until a member answers a linearizable read.
    pub async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let request = pb::RangeRequest { key: "ready".into(), ..Default::default() };
            let Err(error) = self.kv(at).range(request).await else {
                return Ok(());
            };
            if self.has_ended(at)? || Instant::now() > deadline {
                bail!("member {at} does not serve: {error}\n{}", self.last_words(at));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The member that leads and knows it.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY;
        loop {
            for at in self.members() {
                let Ok(status) = self.status(at).await else { continue };
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    return Ok(at);
                }
            }
            ensure!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until all members hold the same content at a revision, and says so if they do not.
    pub async fn agree(&self, revision: i64) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let mut hashes = Vec::new();
        for at in self.members() {
            loop {
                let request = pb::HashKvRequest { revision };
                match self.maintenance(at).hash_kv(request).await {
                    Ok(answer) => break hashes.push(answer.into_inner().hash),
                    Err(error) => {
                        ensure!(Instant::now() < deadline, "member {at} does not reach {revision}: {error}")
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        }
        ensure!(
            hashes.windows(2).all(|pair| pair[0] == pair[1]),
            "S5: hashes at revision {revision}: {hashes:?}"
        );
        Ok(())
    }

    /// What a member says of itself.
    pub async fn status(&self, at: usize) -> anyhow::Result<pb::StatusResponse> {
        Ok(self.maintenance(at).status(pb::StatusRequest::default()).await?.into_inner())
    }

    /// Whether a member other than `old` leads, in a later term than `term`.
    pub async fn leads_since(&self, term: u64, old: usize) -> bool {
        for at in self.members().into_iter().filter(|at| *at != old) {
            let Ok(status) = self.status(at).await else { continue };
            let itself = status.header.is_some_and(|header| header.member_id == status.leader);
            if itself && status.raft_term > term {
                return true;
            }
        }
        false
    }

    /// Asks a member for a lease of so many seconds.
    pub async fn grant(&self, at: usize, seconds: i64) -> anyhow::Result<i64> {
        let request = pb::LeaseGrantRequest { ttl: seconds, id: 0 };
        Ok(self.leases(at).lease_grant(request).await?.into_inner().id)
    }

    /// The seconds left of a lease; -1 when it is gone.
    pub async fn time_to_live(&self, at: usize, lease: i64) -> anyhow::Result<i64> {
        let request = pb::LeaseTimeToLiveRequest { id: lease, keys: false };
        Ok(self.leases(at).lease_time_to_live(request).await?.into_inner().ttl)
    }

    /// Whether a member takes writes; the write changes nothing, not even the revision.
    pub async fn try_write(&self, at: usize, bytes: usize) -> Result<(), tonic::Status> {
        let never = pb::Compare {
            key: "never".into(),
            result: pb::compare::CompareResult::Greater.into(),
            target: pb::compare::CompareTarget::Version.into(),
            target_union: Some(pb::compare::TargetUnion::Version(1)),
            ..Default::default()
        };
        let put = pb::PutRequest { key: "never".into(), value: vec![0; bytes].into(), ..Default::default() };
        let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
        let txn = pb::TxnRequest { compare: vec![never], success: vec![put], failure: vec![] };
        self.kv(at).txn(txn).await.map(drop)
    }

    /// Writes a key, and returns the revision.
    pub async fn put(&self, at: usize, key: &'static str) -> anyhow::Result<i64> {
        let put = pb::PutRequest { key: key.into(), ..Default::default() };
        let header = self.kv(at).put(put).await?.into_inner().header;
        Ok(header.context("an answer without header")?.revision)
    }

    /// Sends a transaction, and returns the revision.
    pub async fn txn(&self, at: usize, txn: pb::TxnRequest) -> anyhow::Result<i64> {
        let header = self.kv(at).txn(txn).await?.into_inner().header;
        Ok(header.context("an answer without header")?.revision)
    }

    /// Reads from a member, by agreement or what it holds, at a revision or the newest.
    pub async fn read(&self, at: usize, serializable: bool, revision: i64) -> Result<(), tonic::Status> {
        let everything = pb::RangeRequest {
            key: PREFIX.into(),
            range_end: "w0".into(),
            serializable,
            revision,
            ..Default::default()
        };
        self.kv(at).range(everything).await.map(drop)
    }

    /// Members whose space is short, as a member sees it.
    pub async fn short_of_space(&self, at: usize) -> anyhow::Result<Vec<u64>> {
        let request = pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Get.into(),
            member_id: 0,
            alarm: pb::AlarmType::Nospace.into(),
        };
        let answer = self.maintenance(at).alarm(request).await?.into_inner();
        Ok(answer.alarms.iter().map(|alarm| alarm.member_id).collect())
    }

    /// Who a member says it is.
    pub async fn id(&self, at: usize) -> anyhow::Result<u64> {
        let header = self.status(at).await?.header;
        Ok(header.context("an answer without header")?.member_id)
    }

    pub(crate) fn members_service(&self, at: usize) -> ClusterClient<Channel> {
        ClusterClient::new(channel(self.client_address(at)))
    }

    pub(crate) fn kv(&self, at: usize) -> KvClient<Channel> {
        KvClient::new(channel(self.client_address(at)))
    }

    fn leases(&self, at: usize) -> LeaseClient<Channel> {
        LeaseClient::new(channel(self.client_address(at)))
    }

    fn maintenance(&self, at: usize) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(channel(self.client_address(at)))
    }
}

/// A connection that is made when it is used.
pub fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
    endpoint.connect_timeout(Duration::from_millis(500)).timeout(CALL).connect_lazy()
}
