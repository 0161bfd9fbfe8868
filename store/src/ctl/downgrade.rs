//! `downgrade validate`, `enable`, `cancel`. Our members refuse: their files have no older form. Members of etcd do not.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::json;

use super::output::{Answer, header};
use super::{Common, Error};

/// Go back to an older version of etcd; members of Kontiki refuse.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Ask whether the members can go back to a version
    Validate {
        #[command(flatten)]
        common: Common,
        /// The version, as in 3.5.
        version: String,
    },
    /// Let the members go back to a version
    Enable {
        #[command(flatten)]
        common: Common,
        /// The version, as in 3.5.
        version: String,
    },
    /// Let the members stay
    Cancel {
        #[command(flatten)]
        common: Common,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let (common, action, word, version) = match command {
        Command::Validate { common, version } => (common, DowngradeAction::Validate, "validate", version),
        Command::Enable { common, version } => (common, DowngradeAction::Enable, "enable", version),
        Command::Cancel { common } => (common, DowngradeAction::Cancel, "cancel", String::new()),
    };
    let mut client = MaintenanceClient::new(common.connection.connect().await?);
    let request = pb::DowngradeRequest { action: action.into(), version };
    let answer = client.downgrade(request).await?.into_inner();
    let simple = format!("Downgrade {word} success, cluster version {}\n", answer.version);
    let message = json!({ "header": header(answer.header.as_ref()), "version": answer.version });
    let mut fields = common.fields(answer.header.as_ref());
    fields.quoted("Version", answer.version.as_bytes());
    common.print(&Answer::new(simple, message, fields).sent(&answer), out)
}
