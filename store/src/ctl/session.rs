//! Something that is held as long as a lease is kept: a lock, an office.

use std::time::Duration;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use tokio::signal::unix::{SignalKind, signal};

use super::{Error, Line};

/// Shortest pause between two renewals.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Works under a lease, which is renewed meanwhile and revoked at the end. Work fails with its lease.
pub async fn hold<F>(line: &Line, ttl_s: i64, work: impl FnOnce(i64) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let mut leases = LeaseClient::new(line.clone());
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: ttl_s, id: 0 }).await?.into_inner();
    let outcome = tokio::select! {
        outcome = work(granted.id) => outcome,
        error = renew(line.clone(), granted.id, granted.ttl) => Err(error),
    };
    let revoked = leases.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await;
    // What went wrong first is what to tell.
    outcome.and(revoked.map(drop).map_err(Error::from))
}

/// Renews until that fails.
async fn renew(line: Line, id: i64, ttl_s: i64) -> Error {
    let mut leases = LeaseClient::new(line);
    let pause = (Duration::from_secs(ttl_s.unsigned_abs()) / 3).max(PAUSE_MIN);
    loop {
        tokio::time::sleep(pause).await;
        let one = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let answer = async { leases.lease_keep_alive(one).await?.into_inner().message().await }.await;
        match answer {
            Ok(Some(answer)) if answer.ttl > 0 => {}
            Ok(_) => return Error::Failed("session expired".to_owned()),
            Err(status) => return status.into(),
        }
    }
}

/// Waits until the user, or whoever started this, wants it to end.
pub async fn interrupted() -> Result<(), Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
