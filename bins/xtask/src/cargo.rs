//! Runs cargo, the same that runs this program.

use std::process::Command;

use anyhow::Context;

/// Runs it, and fails if it does.
pub fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(passes(arguments)?, "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// Runs it, and says whether it succeeded.
pub fn passes(arguments: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new(env!("CARGO")).args(arguments).status();
    Ok(status.with_context(|| format!("running cargo {}", arguments.join(" ")))?.success())
}
