//! `endpoint status`, `health`, `hashkv`, `move-leader`. Each endpoint is asked by itself.

use std::io::Write;
use std::time::Instant;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::{Value, json};

use super::fields::Fields;
use super::member::member_id;
use super::output::{Answer, header, size};
use super::{Common, Connection, Error};

/// Ask members how they are, move the leadership.
#[derive(Clone, Debug, clap::Args)]
pub struct Endpoint {
    /// Ask all members of the cluster, where they say that clients reach them.
    #[arg(long, global = true)]
    cluster: bool,
    #[command(subcommand)]
    command: Command,
}

/// What to ask.
#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
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

/// Runs the command.
pub async fn run(Endpoint { cluster, command }: Endpoint, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Status { common } => status(&common, cluster, out).await,
        Command::Health { common } => health(&common, cluster, out).await,
        Command::Hashkv { common, rev } => hash(&common, cluster, rev, out).await,
        Command::MoveLeader { common, id } => {
            let mut client = MaintenanceClient::new(common.connection.connect().await?);
            let before = client.status(pb::StatusRequest {}).await?.into_inner().leader;
            let answer = client.move_leader(pb::MoveLeaderRequest { target_id: id }).await?.into_inner();
            let simple = format!("Leadership transferred from {before:x} to {id:x}\n");
            common.done(simple, answer.header.as_ref(), out)
        }
    }
}

/// A connection for each endpoint alone, or for each address of each member.
async fn each(common: &Common, cluster: bool) -> Result<Vec<Connection>, Error> {
    if !cluster {
        return common.connection.each().await;
    }
    let mut client = ClusterClient::new(common.connection.connect().await?);
    let listed = client.member_list(pb::MemberListRequest { linearizable: true }).await?.into_inner();
    let urls = listed.members.into_iter().flat_map(|member| member.client_ur_ls);
    Ok(urls.map(|url| common.connection.at(url)).collect())
}

/// Says on standard error which endpoint failed; the others are asked all the same.
fn complain(what: &str, endpoint: &str, error: &Error) -> Result<(), Error> {
    Ok(writeln!(std::io::stderr(), "Failed to get the {what} of endpoint {endpoint} ({error})")?)
}

async fn status(common: &Common, cluster: bool, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &[
        "ENDPOINT",
        "ID",
        "VERSION",
        "STORAGE VERSION",
        "DB SIZE",
        "IN USE",
        "PERCENTAGE NOT IN USE",
        "QUOTA",
        "IS LEADER",
        "IS LEARNER",
        "RAFT TERM",
        "RAFT INDEX",
        "RAFT APPLIED INDEX",
        "ERRORS",
        "DOWNGRADE TARGET VERSION",
        "DOWNGRADE ENABLED",
    ];
    let (mut rows, mut messages, mut fields) = (Vec::new(), Vec::new(), Fields::none(common.hex));
    let mut failed = None;
    for connection in each(common, cluster).await? {
        let endpoint = &connection.endpoints;
        let asked = async {
            let mut client = MaintenanceClient::new(connection.connect().await?);
            Ok::<_, Error>(client.status(pb::StatusRequest {}).await?.into_inner())
        };
        match asked.await {
            Ok(answer) => {
                rows.push(status_row(endpoint, &answer));
                fields.append(&status_fields(endpoint, &answer, common.hex));
                messages.push(json!({ "Endpoint": endpoint, "Status": status_message(&answer) }));
            }
            Err(error) => {
                complain("status", endpoint, &error)?;
                failed = Some(error);
            }
        }
    }
    let simple: String = rows.iter().map(|row| row.join(", ") + "\n").collect();
    common.print(&Answer::new(simple, messages.into(), fields).table(TITLES, rows), out)?;
    failed.map_or(Ok(()), Err)
}

fn status_row(endpoint: &str, answer: &pb::StatusResponse) -> Vec<String> {
    let id = answer.header.map_or(0, |header| header.member_id);
    let unused = match answer.db_size {
        0 => 0,
        size => 100 - answer.db_size_in_use.saturating_mul(100) / size,
    };
    let downgrade = answer.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.to_owned(),
        format!("{id:x}"),
        answer.version.clone(),
        answer.storage_version.clone(),
        size(answer.db_size),
        size(answer.db_size_in_use),
        format!("{unused}%"),
        size(answer.db_size_quota),
        (answer.leader == id).to_string(),
        answer.is_learner.to_string(),
        answer.raft_term.to_string(),
        answer.raft_index.to_string(),
        answer.raft_applied_index.to_string(),
        answer.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

fn status_fields(endpoint: &str, answer: &pb::StatusResponse, hex: bool) -> Fields {
    let downgrade = answer.downgrade_info.clone().unwrap_or_default();
    let mut fields = Fields::of(answer.header.as_ref(), hex);
    fields.quoted("Version", answer.version.as_bytes());
    fields.quoted("StorageVersion", answer.storage_version.as_bytes());
    fields.value("DBSize", answer.db_size);
    fields.value("DBSizeInUse", answer.db_size_in_use);
    fields.value("DBSizeQuota", answer.db_size_quota);
    fields.value("Leader", answer.leader);
    fields.value("IsLearner", answer.is_learner);
    fields.value("RaftIndex", answer.raft_index);
    fields.value("RaftAppliedIndex", answer.raft_applied_index);
    fields.value("Errors", format_args!("[{}]", answer.errors.join(" ")));
    fields.quoted("Endpoint", endpoint.as_bytes());
    fields.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
    fields.value("DowngradeEnabled", downgrade.enabled);
    fields.gap();
    fields
}

fn status_message(answer: &pb::StatusResponse) -> Value {
    let mut message = json!({
        "header": header(answer.header.as_ref()),
        "version": answer.version,
        "dbSize": answer.db_size,
        "leader": answer.leader,
        "raftIndex": answer.raft_index,
        "raftTerm": answer.raft_term,
        "raftAppliedIndex": answer.raft_applied_index,
        "dbSizeInUse": answer.db_size_in_use,
        "storageVersion": answer.storage_version,
    });
    if !answer.errors.is_empty() {
        message["errors"] = json!(answer.errors);
    }
    if answer.is_learner {
        message["isLearner"] = true.into();
    }
    if answer.db_size_quota != 0 {
        message["dbSizeQuota"] = answer.db_size_quota.into();
    }
    if let Some(downgrade) = &answer.downgrade_info {
        message["downgradeInfo"] =
            json!({ "enabled": downgrade.enabled, "targetVersion": downgrade.target_version });
    }
    message
}

/// Fails when one member is not healthy, after having asked all at once.
async fn health(common: &Common, cluster: bool, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
    let (mut simple, mut sick) = (String::new(), String::new());
    let (mut rows, mut messages, mut fields) = (Vec::new(), Vec::new(), Fields::none(common.hex));
    let asked = each(common, cluster).await?.into_iter().map(|connection| async move {
        let begin = Instant::now();
        let error = check(&connection).await.err().map(|error| error.to_string());
        (connection.endpoints, format!("{:?}", begin.elapsed()), error)
    });
    for (endpoint, took, error) in futures::future::join_all(asked).await {
        match &error {
            None => {
                simple += &format!("{endpoint} is healthy: successfully committed proposal: took = {took}\n");
            }
            Some(error) => {
                sick += &format!("{endpoint} is unhealthy: failed to commit proposal: {error}\n");
            }
        }
        let healthy = error.is_none();
        let mut message = json!({ "endpoint": endpoint, "health": healthy, "took": took });
        if let Some(error) = &error {
            message["error"] = error.as_str().into();
        }
        messages.push(message);
        let error = error.unwrap_or_default();
        fields.quoted("Endpoint", endpoint.as_bytes());
        fields.value("Health", healthy);
        fields.value("Took", &took);
        fields.value("Error", &error);
        fields.gap();
        rows.push(vec![endpoint, healthy.to_string(), took, error]);
    }
    common.print(&Answer::new(simple, messages.into(), fields).table(TITLES, rows), out)?;
    if sick.is_empty() {
        return Ok(());
    }
    if common.write_out == super::Format::Simple {
        write!(std::io::stderr(), "{sick}")?;
    }
    Err(Error::Failed("unhealthy cluster".to_owned()))
}

/// Whether a member answers a linearizable read, and has no alarm. Whoever can tell that we may not look is well.
async fn check(connection: &Connection) -> Result<(), Error> {
    let denied = |status: &tonic::Status| status.code() == tonic::Code::PermissionDenied;
    let line = connection.connect().await?;
    let request = pb::RangeRequest { key: "health".into(), ..Default::default() };
    match KvClient::new(line.clone()).range(request).await {
        Err(status) if !denied(&status) => return Err(status.into()),
        Ok(_) | Err(_) => {}
    }
    let request =
        pb::AlarmRequest { action: pb::alarm_request::AlarmAction::Get.into(), ..Default::default() };
    match MaintenanceClient::new(line).alarm(request).await {
        Ok(answer) if answer.get_ref().alarms.is_empty() => Ok(()),
        Ok(answer) => {
            let alarms = answer.into_inner().alarms.into_iter();
            let names = alarms.map(|alarm| {
                pb::AlarmType::try_from(alarm.alarm).map_or("UNKNOWN ", |kind| match kind {
                    pb::AlarmType::Nospace => "NOSPACE ",
                    pb::AlarmType::Corrupt => "CORRUPT ",
                    pb::AlarmType::None => "UNKNOWN ",
                })
            });
            Err(Error::Failed(format!("Active Alarm(s): {}", names.collect::<String>())))
        }
        Err(status) if denied(&status) => Ok(()),
        Err(_) => Err(Error::Failed("Unable to fetch the alarm list".to_owned())),
    }
}

async fn hash(
    common: &Common,
    cluster: bool,
    revision: i64,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    const TITLES: &[&str] = &["ENDPOINT", "HASH", "HASH REVISION"];
    let (mut rows, mut messages, mut fields) = (Vec::new(), Vec::new(), Fields::none(common.hex));
    let mut failed = None;
    for connection in each(common, cluster).await? {
        let endpoint = &connection.endpoints;
        let asked = async {
            let mut client = MaintenanceClient::new(connection.connect().await?);
            Ok::<_, Error>(client.hash_kv(pb::HashKvRequest { revision }).await?.into_inner())
        };
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(error) => {
                complain("hash", endpoint, &error)?;
                failed = Some(error);
                continue;
            }
        };
        let at = answer.hash_revision;
        rows.push(vec![endpoint.clone(), answer.hash.to_string(), at.to_string()]);
        let mut one = Fields::of(answer.header.as_ref(), common.hex);
        one.quoted("Endpoint", endpoint.as_bytes());
        one.value("Hash", answer.hash);
        one.value("HashRevision", at);
        one.gap();
        fields.append(&one);
        let message = json!({
            "header": header(answer.header.as_ref()), "hash": answer.hash,
            "compact_revision": answer.compact_revision, "hash_revision": at,
        });
        messages.push(json!({ "Endpoint": endpoint, "HashKV": message }));
    }
    let simple: String = rows.iter().map(|row| row.join(", ") + "\n").collect();
    common.print(&Answer::new(simple, messages.into(), fields).table(TITLES, rows), out)?;
    failed.map_or(Ok(()), Err)
}
