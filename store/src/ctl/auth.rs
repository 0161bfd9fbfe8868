//! `auth enable`, `disable`, `status`.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use serde_json::json;
use store_client::Denial;
use tonic::Status;

use super::output::{Answer, header};
use super::{Common, Error, Line};
use crate::auth::ROOT;

/// Demand that clients say who they are.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Demand it; there must be a user root, who gets the role root
    Enable {
        #[command(flatten)]
        common: Common,
    },
    /// Let everybody do everything
    Disable {
        #[command(flatten)]
        common: Common,
    },
    /// Print whether it is demanded
    Status {
        #[command(flatten)]
        common: Common,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Enable { common } => {
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = enable(&mut client).await?;
            common.done("Authentication Enabled\n", answer.header.as_ref(), out)
        }
        Command::Disable { common } => {
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.auth_disable(pb::AuthDisableRequest {}).await?.into_inner();
            common.done("Authentication Disabled\n", answer.header.as_ref(), out)
        }
        Command::Status { common } => {
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.auth_status(pb::AuthStatusRequest {}).await?.into_inner();
            let simple = format!(
                "Authentication Status: {}\nAuthRevision: {}\n",
                answer.enabled, answer.auth_revision
            );
            let message = json!({
                "header": header(answer.header.as_ref()),
                "enabled": answer.enabled,
                "authRevision": answer.auth_revision,
            });
            let mut fields = common.fields(answer.header.as_ref());
            fields.value("Enabled", answer.enabled);
            fields.value("AuthRevision", answer.auth_revision);
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
    }
}

/// Gives root the role it needs, as etcdctl does.
async fn enable(client: &mut AuthClient<Line>) -> Result<pb::AuthEnableResponse, Status> {
    match client.auth_enable(pb::AuthEnableRequest {}).await {
        Err(status) if Denial::of_status(status.message()) == Some(Denial::RootRoleMissing) => {}
        answer => return Ok(answer?.into_inner()),
    }
    match client.role_add(pb::AuthRoleAddRequest { name: ROOT.to_owned() }).await {
        Err(status) if Denial::of_status(status.message()) != Some(Denial::RoleExists) => return Err(status),
        Ok(_) | Err(_) => {}
    }
    let grant = pb::AuthUserGrantRoleRequest { user: ROOT.to_owned(), role: ROOT.to_owned() };
    client.user_grant_role(grant).await?;
    Ok(client.auth_enable(pb::AuthEnableRequest {}).await?.into_inner())
}
