//! What a server answered, without what differs between any two servers: ids of cluster and member, terms, the order in
//! which leases are listed, and how long exactly a lease still has.

use proto::etcd::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse, PutResponse,
    RangeResponse, ResponseHeader, TxnResponse, kv_client::KvClient, lease_client::LeaseClient,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::calls::Call;

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as the calls")]
pub enum Answer {
    Range(RangeResponse),
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    TimeToLive(LeaseTimeToLiveResponse),
    Leases(LeaseLeasesResponse),
    KeepAlive(LeaseKeepAliveResponse),
    Refused(Code, String),
}

trait Answered {
    fn header(&mut self) -> &mut Option<ResponseHeader>;

    fn common(mut self) -> Self
    where
        Self: Sized,
    {
        if let Some(header) = self.header() {
            *header = ResponseHeader { revision: header.revision, ..Default::default() };
        }
        self
    }
}

macro_rules! answered {
    ($($name:ident)*) => {
        $(impl Answered for $name {
            fn header(&mut self) -> &mut Option<ResponseHeader> {
                &mut self.header
            }
        })*
    };
}

answered! {
    RangeResponse PutResponse DeleteRangeResponse TxnResponse CompactionResponse LeaseGrantResponse
    LeaseRevokeResponse LeaseTimeToLiveResponse LeaseLeasesResponse LeaseKeepAliveResponse
}

impl Answer {
    /// The revision in its header, if it has one.
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Range(answer) => &answer.header,
            Self::Put(answer) => &answer.header,
            Self::Delete(answer) => &answer.header,
            Self::Txn(answer) => &answer.header,
            Self::Compact(answer) => &answer.header,
            Self::Grant(answer) => &answer.header,
            Self::Revoke(answer) => &answer.header,
            Self::TimeToLive(answer) => &answer.header,
            Self::Leases(answer) => &answer.header,
            Self::KeepAlive(answer) => &answer.header,
            Self::Refused(..) => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}

/// Clients of one server.
#[derive(Clone)]
pub struct Asker {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
}

impl Asker {
    /// Over one connection.
    pub fn new(channel: Channel) -> Self {
        Self { kv: KvClient::new(channel.clone()), lease: LeaseClient::new(channel) }
    }

    /// Makes a call.
    pub async fn ask(&mut self, call: Call) -> Answer {
        match self.answer(call).await {
            Ok(answer) => answer,
            Err(status) => Answer::Refused(status.code(), status.message().to_owned()),
        }
    }

    async fn answer(&mut self, call: Call) -> Result<Answer, Status> {
        let (kv, lease) = (&mut self.kv, &mut self.lease);
        Ok(match call {
            Call::Range(request) => Answer::Range(common(kv.range(request).await?)),
            Call::Put(request) => Answer::Put(common(kv.put(request).await?)),
            Call::Delete(request) => Answer::Delete(common(kv.delete_range(request).await?)),
            Call::Txn(request) => Answer::Txn(common(kv.txn(request).await?)),
            Call::Compact(request) => Answer::Compact(common(kv.compact(request).await?)),
            Call::Grant(request) => Answer::Grant(common(lease.lease_grant(request).await?)),
            Call::Revoke(request) => Answer::Revoke(common(lease.lease_revoke(request).await?)),
            Call::TimeToLive(request) => {
                let mut answer = common(lease.lease_time_to_live(request).await?);
                answer.ttl = answer.ttl.min(1);
                answer.keys.sort_unstable();
                Answer::TimeToLive(answer)
            }
            Call::Leases(request) => {
                let mut answer = common(lease.lease_leases(request).await?);
                answer.leases.sort_unstable_by_key(|lease| lease.id);
                Answer::Leases(answer)
            }
            Call::KeepAlive(id) => {
                let one = tokio_stream::once(LeaseKeepAliveRequest { id });
                let answer = lease.lease_keep_alive(one).await?.into_inner().message().await?;
                Answer::KeepAlive(answer.ok_or_else(|| Status::cancelled("the stream ended"))?.common())
            }
        })
    }
}

fn common<T: Answered>(response: Response<T>) -> T {
    response.into_inner().common()
}
