//! `defrag`, which other people's scripts call. Our files need none, so nothing is asked of any member.

use std::io::Write;
use std::path::PathBuf;

use super::{Common, Error};

/// What there is to say.
pub const NOTHING_TO_DO: &str =
    "There is nothing to defragment: space is given back when revisions are compacted.";

/// Say that there is nothing to defragment
#[derive(Clone, Debug, clap::Args)]
pub struct Defrag {
    #[command(flatten)]
    common: Common,
    /// Of all members; there is nothing to do on any.
    #[arg(long)]
    cluster: bool,
    /// Of a member that does not run; there is nothing to do either.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(_: &Defrag, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    Ok(writeln!(out, "{NOTHING_TO_DO}")?)
}
