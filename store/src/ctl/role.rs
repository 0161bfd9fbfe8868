//! `role add`, `delete`, `get`, `list`, `grant-permission`, `revoke-permission`.

use std::io::Write;

use bytes::Bytes;
use proto::etcd::authpb::{self, permission::Type};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use serde_json::{Value, json};
use store_client::KeyRange;

use super::fields::Fields;
use super::output::{Answer, base64, listed};
use super::{Common, Error};

/// Manage roles.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Add a role
    Add {
        #[command(flatten)]
        common: Common,
        /// The role.
        name: String,
    },
    /// Delete a role, from its users too
    Delete {
        #[command(flatten)]
        common: Common,
        /// The role.
        name: String,
    },
    /// Print what a role allows
    Get {
        #[command(flatten)]
        common: Common,
        /// The role.
        name: String,
    },
    /// List the roles
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Allow a role to read or write keys
    GrantPermission {
        #[command(flatten)]
        common: Common,
        /// The role.
        name: String,
        /// read, write or readwrite.
        #[arg(value_enum, ignore_case = true)]
        kind: Kind,
        #[command(flatten)]
        keys: Keys,
    },
    /// Take back what a role was allowed on keys, named as they were
    RevokePermission {
        #[command(flatten)]
        common: Common,
        /// The role.
        name: String,
        #[command(flatten)]
        keys: Keys,
    },
}

/// What is allowed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// To read.
    Read,
    /// To write and delete.
    Write,
    /// Both.
    Readwrite,
}

/// On which keys.
#[derive(Clone, Debug, clap::Args)]
pub struct Keys {
    /// The key, or the first one of a range; empty for the least there is.
    pub key: String,
    /// The first key after the range.
    #[arg(conflicts_with_all = ["prefix", "from_key"])]
    pub end: Option<String>,
    /// All keys that begin with KEY.
    #[arg(long, conflicts_with = "from_key")]
    pub prefix: bool,
    /// All keys from KEY on.
    #[arg(long)]
    pub from_key: bool,
}

impl Keys {
    /// As etcd's key and range end.
    fn range(&self) -> (Bytes, Bytes) {
        let open = Bytes::from_static(&[0]);
        let first = |key: Bytes| if key.is_empty() { open.clone() } else { key };
        let key = Bytes::from(self.key.clone());
        match (self.prefix, self.from_key, &self.end) {
            (true, _, _) => match KeyRange::prefix(key) {
                KeyRange::Interval { start, end } => (first(start), end),
                KeyRange::Key(start) | KeyRange::From(start) => (first(start), open.clone()),
            },
            (_, true, _) => (first(key), open.clone()),
            (_, _, Some(end)) => (first(key), end.clone().into()),
            (_, _, None) => (key, Bytes::new()),
        }
    }
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Add { common, name } => {
            let request = pb::AuthRoleAddRequest { name: name.clone() };
            let answer = AuthClient::new(common.connection.connect().await?).role_add(request).await?;
            common.done(format!("Role {name} created\n"), answer.into_inner().header.as_ref(), out)
        }
        Command::Delete { common, name } => {
            let request = pb::AuthRoleDeleteRequest { role: name.clone() };
            let answer = AuthClient::new(common.connection.connect().await?).role_delete(request).await?;
            common.done(format!("Role {name} deleted\n"), answer.into_inner().header.as_ref(), out)
        }
        Command::Get { common, name } => {
            let request = pb::AuthRoleGetRequest { role: name.clone() };
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.role_get(request).await?.into_inner();
            let perm: Value = answer.perm.iter().map(permission).collect();
            let message = listed(answer.header.as_ref(), "perm", perm);
            let mut fields = common.fields(answer.header.as_ref());
            permission_fields(&answer, &mut fields);
            let simple = described(&name, &answer);
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
        Command::List { common } => {
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.role_list(pb::AuthRoleListRequest {}).await?.into_inner();
            let simple: String = answer.roles.iter().map(|name| format!("{name}\n")).collect();
            let message = listed(answer.header.as_ref(), "roles", json!(answer.roles));
            let mut fields = common.fields(answer.header.as_ref());
            fields.names("Roles", &answer.roles);
            common.print(&Answer::new(simple, message, fields).sent(&answer), out)
        }
        Command::GrantPermission { common, name, kind, keys } => {
            let (key, range_end) = keys.range();
            let kind = match kind {
                Kind::Read => Type::Read,
                Kind::Write => Type::Write,
                Kind::Readwrite => Type::Readwrite,
            };
            let perm = Some(authpb::Permission { perm_type: kind.into(), key, range_end });
            let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.role_grant_permission(request).await?.into_inner();
            common.done(format!("Role {name} updated\n"), answer.header.as_ref(), out)
        }
        Command::RevokePermission { common, name, keys } => {
            let (key, range_end) = keys.range();
            let simple = match range_end.is_empty() {
                true => format!("Permission of key {} is revoked from role {name}\n", text(&key)),
                false => {
                    let shown = interval(&key, &range_end);
                    format!("Permission of range {shown} is revoked from role {name}\n")
                }
            };
            let request = pb::AuthRoleRevokePermissionRequest { role: name, key, range_end };
            let mut client = AuthClient::new(common.connection.connect().await?);
            let answer = client.role_revoke_permission(request).await?.into_inner();
            common.done(simple, answer.header.as_ref(), out)
        }
    }
}

/// A permission as JSON: what is zero is left out.
pub fn permission(permission: &authpb::Permission) -> Value {
    let mut fields = json!({ "key": base64(&permission.key) });
    if permission.perm_type != 0 {
        fields["permType"] = permission.perm_type.into();
    }
    if !permission.range_end.is_empty() {
        fields["range_end"] = base64(&permission.range_end);
    }
    fields
}

/// What a role allows as fields, with the two blanks etcdctl has.
pub fn permission_fields(role: &pb::AuthRoleGetResponse, fields: &mut Fields) {
    for permission in &role.perm {
        let kind = Type::try_from(permission.perm_type).map_or("?", |kind| kind.as_str_name());
        fields.value("PermType", format_args!(" {kind}"));
        fields.quoted("Key", &permission.key);
        fields.quoted("RangeEnd", &permission.range_end);
    }
}

/// A role for people.
pub fn described(name: &str, role: &pb::AuthRoleGetResponse) -> String {
    let of_kind = |kinds: [Type; 2]| {
        let wanted =
            role.perm.iter().filter(|own| kinds.iter().any(|kind| own.perm_type == i32::from(*kind)));
        wanted.map(|own| format!("\t{}\n", range(own))).collect::<String>()
    };
    let (read, write) = (of_kind([Type::Read, Type::Readwrite]), of_kind([Type::Write, Type::Readwrite]));
    format!("Role {name}\nKV Read:\n{read}KV Write:\n{write}")
}

fn range(permission: &authpb::Permission) -> String {
    let authpb::Permission { key, range_end, .. } = permission;
    if range_end.is_empty() {
        return text(key);
    }
    let whole_prefix = match KeyRange::prefix(key.clone()) {
        KeyRange::Interval { end, .. } => end == *range_end,
        KeyRange::From(_) => range_end.as_ref() == [0] && !key.is_empty(),
        KeyRange::Key(_) => false,
    };
    let shown = interval(key, range_end);
    if whole_prefix { format!("{shown} (prefix {})", text(key)) } else { shown }
}

fn interval(key: &[u8], range_end: &[u8]) -> String {
    match range_end {
        [0] => format!("[{}, <open ended>", text(key)),
        end => format!("[{}, {})", text(key), text(end)),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
