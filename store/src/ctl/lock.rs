//! `lock`.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use proto::etcd::etcdserverpb::{RangeRequest, kv_client::KvClient};
use proto::etcd::v3lockpb as pb;
use proto::etcd::v3lockpb::lock_client::LockClient;
use tokio::process::Command;

use super::kv_answers::{self, Style};
use super::session::{hold, interrupted};
use super::{Common, Error};

/// Take a lock, and give it back when the command ends, or when interrupted
#[derive(Clone, Debug, clap::Args)]
pub struct Lock {
    #[command(flatten)]
    common: Common,
    /// Seconds after which the lock is free when its holder is silent.
    #[arg(long, default_value_t = 10)]
    ttl: i64,
    /// The lock.
    name: String,
    /// What to run under the lock; it finds its key in ETCD_LOCK_KEY and its revision in ETCD_LOCK_REV.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the command.
pub async fn run(lock: Lock, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let Lock { common, ttl, name, command } = lock;
    let line = common.connection.connect_to_wait().await?;
    let mut client = LockClient::new(line.clone());
    let work = async |lease| {
        let request = pb::LockRequest { name: name.into(), lease };
        let locked = tokio::select! {
            locked = client.lock(request) => locked?.into_inner(),
            stop = interrupted() => return stop,
        };
        let outcome = match command.split_first() {
            Some((program, arguments)) => under_lock(program, arguments, &locked).await,
            None => {
                let request = RangeRequest { key: locked.key.clone(), ..Default::default() };
                let held = KvClient::new(line.clone()).range(request).await?.into_inner();
                let style = Style { hex: common.hex, ..Style::default() };
                common.print(&kv_answers::get(&held, style), out)?;
                out.flush()?;
                interrupted().await
            }
        };
        client.unlock(pb::UnlockRequest { key: locked.key }).await?;
        outcome
    };
    hold(&line, ttl, work).await
}

async fn under_lock(
    program: &OsString,
    arguments: &[OsString],
    locked: &pb::LockResponse,
) -> Result<(), Error> {
    let revision = locked.header.map_or(0, |header| header.revision);
    let status = Command::new(program)
        .args(arguments)
        .env("ETCD_LOCK_KEY", OsString::from_vec(locked.key.to_vec()))
        .env("ETCD_LOCK_REV", revision.to_string())
        .kill_on_drop(true)
        .status()
        .await?;
    if status.success() { Ok(()) } else { Err(Error::Child(status)) }
}
