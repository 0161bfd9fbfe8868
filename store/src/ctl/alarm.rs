//! `alarm list`, `disarm`.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::{Value, json};

use super::output::{Answer, header};
use super::{Common, Error};
use crate::history::ctl::Line;

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
            Ok(answer(listed.header.as_ref(), &listed.alarms).print(common.write_out, out)?)
        }
        Command::Disarm { common } => {
            let mut client = MaintenanceClient::new(common.connection.connect().await?);
            let listed = ask(&mut client, AlarmAction::Get, pb::AlarmMember::default()).await?;
            let mut ended = Vec::new();
            for alarm in listed.alarms {
                ended.extend(ask(&mut client, AlarmAction::Deactivate, alarm).await?.alarms);
            }
            Ok(answer(listed.header.as_ref(), &ended).print(common.write_out, out)?)
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

fn answer(head: Option<&pb::ResponseHeader>, alarms: &[pb::AlarmMember]) -> Answer {
    let name =
        |alarm: &pb::AlarmMember| pb::AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
    let line = |alarm: &pb::AlarmMember| format!("memberID:{} alarm:{} \n", alarm.member_id, name(alarm));
    let list: Value =
        alarms.iter().map(|one| json!({ "memberID": one.member_id, "alarm": one.alarm })).collect();
    let message = json!({ "header": header(head), "alarms": list });
    Answer::new(alarms.iter().map(line).collect::<String>(), message)
}
