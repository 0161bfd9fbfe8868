//! Commands for people: what etcdctl does, with its words, flags, output and environment.
//!
//! A family of commands is a file: it turns arguments into calls and answers into an [`output::Answer`], which one writer
//! prints in any format. What goes beyond etcd (history, images) has its commands beside its code and is only listed
//! here.

mod alarm;
mod anywhere;
mod auth;
mod check;
mod connection;
mod defrag;
mod discovery;
mod downgrade;
mod elect;
mod endpoint;
mod error;
pub(crate) mod fields;
mod input;
mod kv;
mod kv_answers;
mod lease;
mod lock;
mod member;
mod mirror;
pub(crate) mod output;
pub(crate) mod prompt;
mod quote;
mod requests;
mod role;
mod session;
mod txn;
mod unverified;
mod user;
mod watch;

use std::io::Write;

use proto::etcd::etcdserverpb::ResponseHeader;
use tokio::io::AsyncBufRead;

pub use anywhere::parse;
pub use connection::{Connection, Line};
pub use error::Error;
use fields::Fields;
use output::Answer;
pub use output::Format;

/// What all commands of a family take.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    connection: Connection,
    /// How to print: simple, json, fields, protobuf or table.
    #[arg(short = 'w', long, value_enum, default_value_t = Format::Simple, env = "ETCDCTL_WRITE_OUT")]
    write_out: Format,
    /// Print keys and values as hexadecimal escapes, and ids as hexadecimal numbers.
    #[arg(long, env = "ETCDCTL_HEX")]
    hex: bool,
}

impl Common {
    /// Prints an answer as it was asked for.
    fn print(&self, answer: &Answer, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        answer.print(self.write_out, out)
    }

    /// Prints that something is done, and nothing else.
    fn done(
        &self,
        simple: impl Into<Vec<u8>>,
        head: Option<&ResponseHeader>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Error> {
        self.print(&Answer::done(simple, head, self.hex), out)
    }

    /// The lines of fields of an answer, to begin with.
    fn fields(&self, head: Option<&ResponseHeader>) -> Fields {
        Fields::of(head, self.hex)
    }
}

/// Where values, transactions and watches are read from.
type Input<'a> = &'a mut (dyn AsyncBufRead + Send + Unpin);

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
    Endpoint(endpoint::Endpoint),
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
    /// Keep a copy of keys in another cluster, until interrupted; leases are not copied
    MakeMirror(Box<mirror::Mirror>),
    /// Measure whether a store bears a load
    #[command(subcommand)]
    Check(check::Command),
    /// Say that there is nothing to defragment
    Defrag(defrag::Defrag),
    /// Go back to an older version of etcd; members of Kontiki refuse
    #[command(subcommand)]
    Downgrade(downgrade::Command),
}

/// Runs a command and prints to `out`.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    run_with(command, &mut input::standard(), out).await
}

/// Runs a command that may read from `input`, and prints to `out`.
pub async fn run_with(
    command: Command,
    input: &mut (dyn AsyncBufRead + Send + Unpin),
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
        Command::MakeMirror(mirror) => mirror::run(*mirror, out).await,
        Command::Check(command) => check::run(command, out).await,
        Command::Defrag(defrag) => defrag::run(&defrag, out),
        Command::Downgrade(command) => downgrade::run(command, out).await,
    }
}
