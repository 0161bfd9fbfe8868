//! `alarm list`, `disarm`.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::{Value, json};

use super::output::{self, Answer};
use super::{Common, Error, Line};

/// List and end alarms of members.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print all alarms
    List {
        #[command(flatten)]
        common: Common,
    },
    /// End all alarms; those whose cause is still there come back
    Disarm {
        #[command(flatten)]
        common: Common,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::List { common } => {
            let mut client = MaintenanceClient::new(common.connection.connect().await?);
            let listed = ask(&mut client, AlarmAction::Get, pb::AlarmMember::default()).await?;
            common.print(&answer(&common, listed), out)
        }
        Command::Disarm { common } => {
            let mut client = MaintenanceClient::new(common.connection.connect().await?);
            let mut listed = ask(&mut client, AlarmAction::Get, pb::AlarmMember::default()).await?;
            let mut ended = Vec::new();
            for alarm in std::mem::take(&mut listed.alarms) {
                ended.extend(ask(&mut client, AlarmAction::Deactivate, alarm).await?.alarms);
            }
            common.print(&answer(&common, pb::AlarmResponse { alarms: ended, ..listed }), out)
        }
    }
}

async fn ask(
    client: &mut MaintenanceClient<Line>,
    action: AlarmAction,
    alarm: pb::AlarmMember,
) -> Result<pb::AlarmResponse, Error> {
    let pb::AlarmMember { member_id, alarm } = alarm;
    let request = pb::AlarmRequest { action: action.into(), member_id, alarm };
    Ok(client.alarm(request).await?.into_inner())
}

fn answer(common: &Common, listed: pb::AlarmResponse) -> Answer {
    let name =
        |alarm: &pb::AlarmMember| pb::AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
    let line = |alarm: &pb::AlarmMember| format!("memberID:{} alarm:{} \n", alarm.member_id, name(alarm));
    let simple: String = listed.alarms.iter().map(line).collect();
    let mut fields = common.fields(listed.header.as_ref());
    for alarm in &listed.alarms {
        fields.id("MemberID", alarm.member_id);
        fields.value("AlarmType", name(alarm));
        fields.gap();
    }
    let list: Value =
        listed.alarms.iter().map(|one| json!({ "memberID": one.member_id, "alarm": one.alarm })).collect();
    let message = output::listed(listed.header.as_ref(), "alarms", list);
    Answer::new(simple, message, fields).sent(&listed)
}
