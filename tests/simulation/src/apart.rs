//! Runs in processes of their own, by which a seed means the same whatever was run before it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::bugs::{self, Bug};
use crate::plan::plan;
use crate::run::{self, Failure, Manner, Report};

/// The argument by which the program is asked for one run, and to print what came of it as JSON.
pub const ARGUMENT: &str = "--told";

/// Runs a seed, perhaps with a bug. `Err` if it could not be run.
pub fn run(simulate: &Path, seed: u64, bug: Option<Bug>) -> anyhow::Result<Result<Report, Failure>> {
    let mut process = Command::new(simulate);
    process.args([ARGUMENT, "--seed", &seed.to_string()]);
    process.args(bug.into_iter().flat_map(|bug| ["--bug".to_owned(), bugs::name(bug)]));
    let output = process.output().with_context(|| format!("running {}", simulate.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "seed {seed}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("what came of seed {seed}: {said}"))
}

/// The other end.
pub fn tell(seed: u64, bug: Option<Bug>) -> anyhow::Result<()> {
    let outcome = run::run(&plan(seed), Manner { bug, ..Manner::default() });
    Ok(serde_json::to_writer(std::io::stdout(), &outcome)?)
}
