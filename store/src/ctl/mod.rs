//! Commands for people: what etcdctl does, with its words, flags, output and environment.
//!
//! A family of commands is a file: it turns arguments into calls and answers into an [`output::Answer`], which one writer
//! prints in any format. What goes beyond etcd (history, images) has its commands beside its code and is only listed
//! here.

mod alarm;
mod auth;
mod elect;
mod endpoint;
mod kv;
mod kv_answers;
mod lease;
mod lock;
mod member;
pub(crate) mod output;
pub(crate) mod prompt;
mod quote;
mod requests;
mod role;
mod session;
mod txn;
mod user;

use std::io::{BufRead, BufReader, Write};

pub use crate::history::ctl::{Connection, Error};
pub use output::Format;

/// What all commands of a family take.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    connection: Connection,
    /// How to print: simple, json, fields or table.
    #[arg(short = 'w', long, value_enum, default_value_t = Format::Simple, env = "ETCDCTL_WRITE_OUT")]
    write_out: Format,
    /// Print keys and values as hexadecimal escapes.
    #[arg(long)]
    hex: bool,
}

/// Where values and transactions are read from.
type Input<'a> = &'a mut (dyn BufRead + Send);

/// A family of commands.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Read, write and watch keys, as they are or were; compare two moments, take back deletions
    #[command(subcommand)]
    Kv(kv::Command),
    /// Compare and change keys in one step; standard input says which
    Txn(txn::Txn),
    /// Take a lock, and give it back when a command ends, or when interrupted
    Lock(lock::Lock),
    /// Stand for election until interrupted, or see who is elected
    Elect(elect::Elect),
    /// Grant, renew, revoke and list leases
    #[command(subcommand)]
    Lease(lease::Command),
    /// List, add, promote, update and remove members of a store
    #[command(subcommand)]
    Member(member::Command),
    /// Ask members how they are, move the leadership
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// List and end alarms of members
    #[command(subcommand)]
    Alarm(alarm::Command),
    /// Demand that clients say who they are, or not
    #[command(subcommand)]
    Auth(auth::Command),
    /// Add, delete and list users; give them passwords and roles
    #[command(subcommand)]
    User(user::Command),
    /// Add, delete and list roles; allow them ranges of keys
    #[command(subcommand)]
    Role(role::Command),
    /// Save, check and restore the state of a store
    #[command(subcommand)]
    Snapshot(crate::backup::ctl::Command),
}

/// Runs a command and prints to `out`.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    run_with(command, &mut BufReader::new(std::io::stdin()), out).await
}

/// Runs a command that may read from `input`, and prints to `out`.
pub async fn run_with(
    command: Command,
    input: &mut (dyn BufRead + Send),
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    match command {
        Command::Kv(command) => kv::run(command, input, out).await,
        Command::Txn(command) => txn::run(command, input, out).await,
        Command::Lock(command) => lock::run(command, out).await,
        Command::Elect(command) => elect::run(command, out).await,
        Command::Lease(command) => lease::run(command, out).await,
        Command::Member(command) => member::run(command, out).await,
        Command::Endpoint(command) => endpoint::run(command, out).await,
        Command::Alarm(command) => alarm::run(command, out).await,
        Command::Auth(command) => auth::run(command, out).await,
        Command::User(command) => user::run(command, out).await,
        Command::Role(command) => role::run(command, out).await,
        Command::Snapshot(command) => crate::backup::ctl::run(command, out).await,
    }
}
