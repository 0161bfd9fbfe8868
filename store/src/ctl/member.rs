//! `member list`, `add`, `promote`, `update`, `remove`. Members are named by their hexadecimal id.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use serde_json::{Value, json};

use super::fields::Fields;
use super::output::{Answer, header};
use super::requests::Consistency;
use super::{Common, Error};

/// List and change the members of a store.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List the members
    List {
        #[command(flatten)]
        common: Common,
        /// l for linearizable, s for serializable.
        #[arg(long, value_enum, ignore_case = true, default_value = "l")]
        consistency: Consistency,
    },
    /// Announce a new member; start it afterwards with what this prints
    Add {
        #[command(flatten)]
        common: Common,
        /// Its name.
        name: String,
        /// Where the others reach it.
        #[arg(long)]
        peer_urls: String,
        /// It is not to vote until it is promoted.
        #[arg(long)]
        learner: bool,
    },
    /// Let a learner vote
    Promote {
        #[command(flatten)]
        common: Common,
        /// The member.
        #[arg(value_parser = member_id)]
        id: u64,
    },
    /// Tell where the others reach a member from now on
    Update {
        #[command(flatten)]
        common: Common,
        /// The member.
        #[arg(value_parser = member_id)]
        id: u64,
        /// Where the others reach it.
        #[arg(long)]
        peer_urls: String,
    },
    /// Remove a member for good
    Remove {
        #[command(flatten)]
        common: Common,
        /// The member.
        #[arg(value_parser = member_id)]
        id: u64,
    },
}

/// A member's id as it is printed.
pub fn member_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("bad member ID arg, expecting ID in Hex: {text}"))
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::List { common, consistency } => {
            let mut client = ClusterClient::new(common.connection.connect().await?);
            let linearizable = matches!(consistency, Consistency::L);
            let answer = client.member_list(pb::MemberListRequest { linearizable }).await?.into_inner();
            common.print(&list(&answer, common.hex), out)
        }
        Command::Add { common, name, peer_urls, learner } => {
            let mut client = ClusterClient::new(common.connection.connect().await?);
            let request = pb::MemberAddRequest { peer_ur_ls: urls(&peer_urls), is_learner: learner };
            let answer = client.member_add(request).await?.into_inner();
            common.print(&added(&name, &answer, common.hex), out)
        }
        Command::Promote { common, id } => {
            let mut client = ClusterClient::new(common.connection.connect().await?);
            let answer = client.member_promote(pb::MemberPromoteRequest { id }).await?.into_inner();
            let done = changed(id, "promoted in", answer.header.as_ref(), &answer.members, common.hex);
            common.print(&done.sent(&answer), out)
        }
        Command::Update { common, id, peer_urls } => {
            let mut client = ClusterClient::new(common.connection.connect().await?);
            let request = pb::MemberUpdateRequest { id, peer_ur_ls: urls(&peer_urls) };
            let answer = client.member_update(request).await?.into_inner();
            let done = changed(id, "updated in", answer.header.as_ref(), &answer.members, common.hex);
            common.print(&done.sent(&answer), out)
        }
        Command::Remove { common, id } => {
            let mut client = ClusterClient::new(common.connection.connect().await?);
            let answer = client.member_remove(pb::MemberRemoveRequest { id }).await?.into_inner();
            let done = changed(id, "removed from", answer.header.as_ref(), &answer.members, common.hex);
            common.print(&done.sent(&answer), out)
        }
    }
}

fn urls(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn row(member: &pb::Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

/// In JSON ids are strings where they are hexadecimal.
fn id(id: u64, hex: bool) -> Value {
    if hex { format!("{id:x}").into() } else { id.into() }
}

fn head(answered: Option<&pb::ResponseHeader>, hex: bool) -> Value {
    let mut head = header(answered);
    for name in ["cluster_id", "member_id"] {
        if let (true, Some(number)) = (hex, head[name].as_u64()) {
            head[name] = id(number, hex);
        }
    }
    head
}

fn members(members: &[pb::Member], hex: bool) -> Value {
    let member = |member: &pb::Member| {
        let mut fields =
            json!({ "ID": id(member.id, hex), "name": member.name, "peerURLs": member.peer_ur_ls });
        if !member.client_ur_ls.is_empty() {
            fields["clientURLs"] = json!(member.client_ur_ls);
        }
        if member.is_learner {
            fields["isLearner"] = true.into();
        }
        fields
    };
    members.iter().map(member).collect()
}

fn fields(answered: Option<&pb::ResponseHeader>, members: &[pb::Member], hex: bool) -> Fields {
    let mut fields = Fields::of(answered, hex);
    for member in members {
        fields.id("ID", member.id);
        fields.quoted("Name", member.name.as_bytes());
        member.peer_ur_ls.iter().for_each(|url| fields.quoted("PeerURL", url.as_bytes()));
        member.client_ur_ls.iter().for_each(|url| fields.quoted("ClientURL", url.as_bytes()));
        fields.value("IsLearner", member.is_learner);
        fields.gap();
    }
    fields
}

fn list(answer: &pb::MemberListResponse, hex: bool) -> Answer {
    const TITLES: &[&str] = &["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
    let rows: Vec<_> = answer.members.iter().map(row).collect();
    let simple: String = rows.iter().map(|row| row.join(", ") + "\n").collect();
    let message =
        json!({ "header": head(answer.header.as_ref(), hex), "members": members(&answer.members, hex) });
    let fields = fields(answer.header.as_ref(), &answer.members, hex);
    Answer::new(simple, message, fields).sent(answer).table(TITLES, rows)
}

fn cluster_id(header: Option<&pb::ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

fn changed(
    id: u64,
    what: &str,
    answered: Option<&pb::ResponseHeader>,
    all: &[pb::Member],
    hex: bool,
) -> Answer {
    let simple = format!("Member {id:16x} {what} cluster {:16x}\n", cluster_id(answered));
    let message = json!({ "header": head(answered, hex), "members": members(all, hex) });
    Answer::new(simple, message, fields(answered, all, hex))
}

/// With what the new member is to be started, as etcdctl prints it.
fn added(name: &str, answer: &pb::MemberAddResponse, hex: bool) -> Answer {
    let member = answer.member.clone().unwrap_or_default();
    let what = if member.is_learner { "added as learner to" } else { "added to" };
    let changed = changed(member.id, what, answer.header.as_ref(), &answer.members, hex);
    let (mut simple, mut message, fields) = changed.parts();
    message["member"] = members(std::slice::from_ref(&member), hex)[0].clone();
    let cluster = answer.members.iter().flat_map(|other| {
        let name = if other.id == member.id { name } else { &other.name };
        other.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
    });
    let environment = format!(
        "\nETCD_NAME=\"{name}\"\nETCD_INITIAL_CLUSTER=\"{}\"\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"{}\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        cluster.collect::<Vec<_>>().join(","),
        member.peer_ur_ls.join(","),
    );
    simple.extend(environment.bytes());
    Answer::new(simple, message, fields).sent(answer)
}
