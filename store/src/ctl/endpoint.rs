//! `endpoint status`, `health`, `hashkv`, `move-leader`. Each endpoint is asked by itself.

use std::io::Write;
use std::time::Instant;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::{Value, json};

use super::member::member_id;
use super::output::{Answer, header, size};
use super::{Common, Connection, Error};

/// Ask members how they are.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print where each member stands
    Status {
        #[command(flatten)]
        common: Common,
    },
    /// Let each member answer a linearizable read
    Health {
        #[command(flatten)]
        common: Common,
    },
    /// Print the hash of each member's content
    Hashkv {
        #[command(flatten)]
        common: Common,
        /// At this revision. [default: each member's newest]
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
    /// Hand the leadership to another member
    MoveLeader {
        #[command(flatten)]
        common: Common,
        /// The member, in hexadecimal.
        #[arg(value_parser = member_id)]
        id: u64,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Status { common } => status(&common, out).await,
        Command::Health { common } => health(&common, out).await,
        Command::Hashkv { common, rev } => hash(&common, rev, out).await,
        Command::MoveLeader { common, id } => {
            let mut client = MaintenanceClient::new(common.connection.connect().await?);
            let before = client.status(pb::StatusRequest {}).await?.into_inner().leader;
            let answer = client.move_leader(pb::MoveLeaderRequest { target_id: id }).await?.into_inner();
            let simple = format!("Leadership transferred from {before:x} to {id:x}\n");
            Ok(Answer::done(simple, answer.header.as_ref()).print(common.write_out, out)?)
        }
    }
}

/// A connection for each endpoint alone.
fn each(common: &Common) -> impl Iterator<Item = Connection> + '_ {
    let endpoints =
        common.connection.endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
    endpoints.map(|endpoint| Connection { endpoints: endpoint.to_owned(), ..common.connection.clone() })
}

async fn status(common: &Common, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &[
        "ENDPOINT",
        "ID",
        "VERSION",
        "DB SIZE",
        "IS LEADER",
        "IS LEARNER",
        "RAFT TERM",
        "RAFT INDEX",
        "RAFT APPLIED INDEX",
        "ERRORS",
    ];
    let (mut rows, mut messages) = (Vec::new(), Vec::new());
    for connection in each(common) {
        let mut client = MaintenanceClient::new(connection.connect().await?);
        let answer = client.status(pb::StatusRequest {}).await?.into_inner();
        let id = answer.header.map_or(0, |header| header.member_id);
        rows.push(vec![
            connection.endpoints.clone(),
            format!("{id:x}"),
            answer.version.clone(),
            size(answer.db_size),
            (answer.leader == id).to_string(),
            answer.is_learner.to_string(),
            answer.raft_term.to_string(),
            answer.raft_index.to_string(),
            answer.raft_applied_index.to_string(),
            answer.errors.join(", "),
        ]);
        messages.push(json!({ "Endpoint": connection.endpoints, "Status": status_message(&answer) }));
    }
    let simple: String = rows.iter().map(|row| row.join(", ") + "\n").collect();
    let answer = Answer { table: Some((TITLES, rows)), ..Answer::new(simple, messages.into()) };
    Ok(answer.print(common.write_out, out)?)
}

fn status_message(answer: &pb::StatusResponse) -> Value {
    json!({
        "header": header(answer.header.as_ref()),
        "version": answer.version,
        "dbSize": answer.db_size,
        "leader": answer.leader,
        "raftIndex": answer.raft_index,
        "raftTerm": answer.raft_term,
        "raftAppliedIndex": answer.raft_applied_index,
        "dbSizeInUse": answer.db_size_in_use,
        "errors": answer.errors,
    })
}

/// Fails when one member is not healthy, after having asked all.
async fn health(common: &Common, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
    let (mut simple, mut rows, mut messages) = (String::new(), Vec::new(), Vec::new());
    let mut sick = false;
    for connection in each(common) {
        let begin = Instant::now();
        let asked = async {
            let request = pb::RangeRequest { key: "health".into(), ..Default::default() };
            match KvClient::new(connection.connect().await?).range(request).await {
                // Whoever can tell that we may not look is well.
                Err(status) if status.code() == tonic::Code::PermissionDenied => Ok(()),
                answer => Ok::<_, Error>(answer.map(drop)?),
            }
        };
        let error = asked.await.err().map(|error| error.to_string());
        let (endpoint, took) = (&connection.endpoints, format!("{:?}", begin.elapsed()));
        simple += &match &error {
            None => format!("{endpoint} is healthy: successfully committed proposal: took = {took}\n"),
            Some(error) => format!("{endpoint} is unhealthy: failed to commit proposal: {error}\n"),
        };
        sick |= error.is_some();
        let healthy = error.is_none();
        let error = error.unwrap_or_default();
        messages.push(json!({ "endpoint": endpoint, "health": healthy, "took": took, "error": error }));
        rows.push(vec![endpoint.clone(), healthy.to_string(), took, error]);
    }
    let answer = Answer { table: Some((TITLES, rows)), ..Answer::new(simple, messages.into()) };
    answer.print(common.write_out, out)?;
    if sick {
        return Err(Error::Usage("unhealthy cluster".to_owned()));
    }
    Ok(())
}

async fn hash(common: &Common, revision: i64, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &["ENDPOINT", "HASH", "HASH REVISION"];
    let (mut rows, mut messages) = (Vec::new(), Vec::new());
    for connection in each(common) {
        let mut client = MaintenanceClient::new(connection.connect().await?);
        let answer = client.hash_kv(pb::HashKvRequest { revision }).await?.into_inner();
        let at = answer.hash_revision;
        rows.push(vec![connection.endpoints.clone(), answer.hash.to_string(), at.to_string()]);
        let message = json!({
            "header": header(answer.header.as_ref()), "hash": answer.hash,
            "compact_revision": answer.compact_revision, "hash_revision": at,
        });
        messages.push(json!({ "Endpoint": connection.endpoints, "HashKV": message }));
    }
    let simple: String = rows.iter().map(|row| format!("{}, {}\n", row[0], row[1])).collect();
    let answer = Answer { table: Some((TITLES, rows)), ..Answer::new(simple, messages.into()) };
    Ok(answer.print(common.write_out, out)?)
}
