//! `user add`, `delete`, `get`, `list`, `passwd`, `grant-role`, `revoke-role`.

use std::io::Write;

use proto::etcd::authpb::UserAddOptions;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use serde_json::{Value, json};

use super::output::{Answer, listed};
use super::role::{self, described};
use super::{Common, Error, prompt};

/// Manage users.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Add a user; without a password it is asked for
    Add {
        #[command(flatten)]
        common: Common,
        /// NAME or NAME:PASSWORD.
        user: String,
        /// The user has no password: only certificates stand for it.
        #[arg(long, conflicts_with = "new_user_password")]
        no_password: bool,
        /// The password; then a colon in the name is part of it.
        #[arg(long)]
        new_user_password: Option<String>,
        /// Ask for the password; `false` reads it from standard input without a question.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, require_equals = true)]
        interactive: bool,
    },
    /// Delete a user
    Delete {
        #[command(flatten)]
        common: Common,
        /// The user.
        name: String,
    },
    /// Print the roles of a user
    Get {
        #[command(flatten)]
        common: Common,
        /// The user.
        name: String,
        /// Print what the roles allow, too.
        #[arg(long)]
        detail: bool,
    },
    /// List the users
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Give a user another password
    Passwd {
        #[command(flatten)]
        common: Common,
        /// The user.
        name: String,
        /// Ask for the password; `false` reads it from standard input without a question.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, require_equals = true)]
        interactive: bool,
    },
    /// Give a user a role
    GrantRole {
        #[command(flatten)]
        common: Common,
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// Take a role from a user
    RevokeRole {
        #[command(flatten)]
        common: Common,
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Add { common, user, no_password, new_user_password, interactive } => {
            let (name, password) = match (no_password, new_user_password, user.split_once(':')) {
                (true, _, _) => (user, String::new()),
                (false, Some(password), _) => (user, password),
                (false, None, Some((name, password))) => (name.to_owned(), password.to_owned()),
                (false, None, None) => (user.clone(), asked(&user, interactive)?),
            };
            if name.is_empty() {
                return Err(Error::Usage("empty user name is not allowed".to_owned()));
            }
            let options = Some(UserAddOptions { no_password });
            let request =
                pb::AuthUserAddRequest { name: name.clone(), password, options, ..Default::default() };
            let answer = AuthClient::new(common.connection.connect().await?).user_add(request).await?;
            common.done(format!("User {name} created\n"), answer.into_inner().header.as_ref(), out)
        }
        Command::Delete { common, name } => {
            let request = pb::AuthUserDeleteRequest { name: name.clone() };
            let answer = AuthClient::new(common.connection.connect().await?).user_delete(request).await?;
            common.done(format!("User {name} deleted\n"), answer.into_inner().header.as_ref(), out)
        }
        Command::Get { common, name, detail } => get(&common, name, detail, out).await,
        Command::List { common } => {
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.user_list(pb::AuthUserListRequest {}).await?.into_inner();
            let simple: String = answer.users.iter().map(|name| format!("{name}\n")).collect();
            let message = listed(answer.header.as_ref(), "users", json!(answer.users));
            let mut fields = common.fields(answer.header.as_ref());
            fields.names("Users", &answer.users);
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
        Command::Passwd { common, name, interactive } => {
            let password = asked(&name, interactive)?;
            let request = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.user_change_password(request).await?.into_inner();
            common.done("Password updated\n", answer.header.as_ref(), out)
        }
        Command::GrantRole { common, name, role } => {
            let request = pb::AuthUserGrantRoleRequest { user: name.clone(), role: role.clone() };
            let answer = AuthClient::new(common.connection.connect().await?).user_grant_role(request).await?;
            let simple = format!("Role {role} is granted to user {name}\n");
            common.done(simple, answer.into_inner().header.as_ref(), out)
        }
        Command::RevokeRole { common, name, role } => {
            let request = pb::AuthUserRevokeRoleRequest { name: name.clone(), role: role.clone() };
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.user_revoke_role(request).await?.into_inner();
            let simple = format!("Role {role} is revoked from user {name}\n");
            common.done(simple, answer.header.as_ref(), out)
        }
    }
}

fn asked(name: &str, interactive: bool) -> Result<String, Error> {
    Ok(match interactive {
        true => prompt::new_secret(&format!("Password of {name}: "))?,
        false => prompt::secret("")?,
    })
}

async fn get(common: &Common, name: String, detail: bool, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let mut client = AuthClient::new(common.connection.connect().await?);
    let answer = client.user_get(pb::AuthUserGetRequest { name: name.clone() }).await?.into_inner();
    let mut simple = format!("User: {name}\n");
    let mut message = listed(answer.header.as_ref(), "roles", json!(answer.roles));
    let mut fields = common.fields(answer.header.as_ref());
    fields.names("Roles", &answer.roles);
    if detail {
        let mut permissions = serde_json::Map::new();
        for role in &answer.roles {
            let found = client.role_get(pb::AuthRoleGetRequest { role: role.clone() }).await?.into_inner();
            simple += &format!("\n{}", described(role, &found));
            role::permission_fields(&found, &mut fields);
            permissions.insert(role.clone(), found.perm.iter().map(role::permission).collect::<Value>());
        }
        message["permissions"] = permissions.into();
    } else {
        let roles: String = answer.roles.iter().map(|role| format!(" {role}")).collect();
        simple += &format!("Roles:{roles}\n");
    }
    common.print(&Answer::new(simple, message, fields).sent(&answer), out)
}
