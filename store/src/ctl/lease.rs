//! `lease grant`, `revoke`, `timetolive`, `list`, `keep-alive`.

use std::io::Write;
use std::time::Duration;

use proto::etcd::etcdserverpb as pb;
use serde_json::{Value, json};

use super::fields::Fields;
use super::output::{Answer, base64, header};
use super::requests::hexadecimal;
use super::{Common, Error};

/// Grant, renew, revoke and list leases. Their numbers are hexadecimal.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Grant a lease for some seconds
    Grant {
        #[command(flatten)]
        common: Common,
        /// Seconds to live.
        ttl: i64,
    },
    /// Revoke a lease and delete its keys
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The lease.
        #[arg(value_parser = hexadecimal)]
        lease: i64,
    },
    /// Print what is left of a lease
    Timetolive {
        #[command(flatten)]
        common: Common,
        /// The lease.
        #[arg(value_parser = hexadecimal)]
        lease: i64,
        /// Print its keys, too.
        #[arg(long)]
        keys: bool,
    },
    /// List all leases
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Renew a lease again and again
    KeepAlive {
        #[command(flatten)]
        common: Common,
        /// The lease.
        #[arg(value_parser = hexadecimal)]
        lease: i64,
        /// Only once.
        #[arg(long)]
        once: bool,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Grant { common, ttl } => {
            let mut client = common.connection.leases(common.connection.connect().await?);
            let answer = client.lease_grant(pb::LeaseGrantRequest { ttl, id: 0 }).await?.into_inner();
            let mut message = header(answer.header.as_ref());
            message["ID"] = answer.id.into();
            message["TTL"] = answer.ttl.into();
            message["Error"] = answer.error.clone().into();
            let simple = format!("lease {:016x} granted with TTL({}s)\n", answer.id, answer.ttl);
            let fields = fields(&common, answer.header.as_ref(), answer.id, answer.ttl);
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
        Command::Revoke { common, lease } => {
            let mut client = common.connection.leases(common.connection.connect().await?);
            let answer = client.lease_revoke(pb::LeaseRevokeRequest { id: lease }).await?.into_inner();
            common.done(format!("lease {lease:016x} revoked\n"), answer.header.as_ref(), out)
        }
        Command::Timetolive { common, lease, keys } => {
            let mut client = common.connection.leases(common.connection.connect().await?);
            let request = pb::LeaseTimeToLiveRequest { id: lease, keys };
            let answer = client.lease_time_to_live(request).await?.into_inner();
            common.print(&left(&common, &answer, keys), out)
        }
        Command::List { common } => {
            let mut client = common.connection.leases(common.connection.connect().await?);
            let answer = client.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner();
            let ids = answer.leases.iter().map(|lease| lease.id);
            let mut fields = common.fields(answer.header.as_ref());
            ids.clone().for_each(|id| fields.lease("ID", id));
            let mut simple = format!("found {} leases\n", answer.leases.len());
            simple.extend(ids.clone().map(|id| format!("{id:016x}\n")));
            let leases: Value = ids.map(|id| json!({ "id": id })).collect();
            let mut message = header(answer.header.as_ref());
            message["leases"] = leases;
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
        Command::KeepAlive { common, lease, once } => keep_alive(&common, lease, once, out).await,
    }
}

/// Those of a lease. In JSON, too, etcdctl has the fields of the header beside those of the lease.
fn fields(common: &Common, head: Option<&pb::ResponseHeader>, id: i64, ttl: i64) -> Fields {
    let mut fields = common.fields(head);
    fields.lease("ID", id);
    fields.value("TTL", ttl);
    fields
}

fn left(common: &Common, answer: &pb::LeaseTimeToLiveResponse, keys: bool) -> Answer {
    let mut message = header(answer.header.as_ref());
    message["id"] = answer.id.into();
    message["ttl"] = answer.ttl.into();
    message["granted-ttl"] = answer.granted_ttl.into();
    message["keys"] = match answer.keys.is_empty() {
        true => Value::Null,
        false => answer.keys.iter().map(|key| base64(key)).collect(),
    };
    let mut fields = fields(common, answer.header.as_ref(), answer.id, answer.ttl);
    fields.value("GrantedTTL", answer.granted_ttl);
    answer.keys.iter().for_each(|key| fields.quoted("Key", key));
    if answer.ttl < 0 {
        let simple = format!("lease {:016x} already expired\n", answer.id);
        return Answer::new(simple, message, fields).sent(answer);
    }
    let mut simple = format!(
        "lease {:016x} granted with TTL({}s), remaining({}s)",
        answer.id, answer.granted_ttl, answer.ttl
    )
    .into_bytes();
    if keys {
        let joined = answer.keys.iter().map(|key| key.as_ref()).collect::<Vec<_>>().join(&b" "[..]);
        simple.extend([b", attached keys([", &joined[..], b"])"].concat());
    }
    simple.push(b'\n');
    Answer::new(simple, message, fields).sent(answer)
}

async fn keep_alive(
    common: &Common,
    lease: i64,
    once: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
    let gone = || Error::Failed(format!("lease {lease:016x} expired or revoked."));
    let ask = async |requests: &tokio::sync::mpsc::Sender<_>| {
        requests.send(pb::LeaseKeepAliveRequest { id: lease }).await.map_err(|_| gone())
    };
    ask(&requests).await?;
    let mut client = common.connection.leases(common.connection.connect().await?);
    let mut answers = client.lease_keep_alive(queue).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.ttl <= 0 {
            return Err(gone());
        }
        let mut message = header(answer.header.as_ref());
        message["ID"] = answer.id.into();
        message["TTL"] = answer.ttl.into();
        let simple = format!("lease {:016x} keepalived with TTL({})\n", answer.id, answer.ttl);
        let fields = fields(common, answer.header.as_ref(), answer.id, answer.ttl);
        common.print(&Answer::new(simple, message, fields).sent(&answer), out)?;
        out.flush()?;
        if once {
            return Ok(());
        }
        // A third of the time to live, as etcd's clients.
        let pause = Duration::from_secs(answer.ttl.unsigned_abs()) / 3;
        tokio::time::sleep(pause.max(Duration::from_millis(300))).await;
        ask(&requests).await?;
    }
    Ok(())
}
