//! `cargo xtask simulate`: clusters in one process, one seed each, for as long as one likes.

use std::process::Command;

use anyhow::Context;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// What the program is told: --seeds N --seed S --bug M4 --loud --jobs J.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulation and runs it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut run = vec![
        "run",
        "--release",
        "--quiet",
        "--package",
        "simulation-tests",
        "--bin",
        "kontiki-simulate",
        "--",
    ];
    run.extend(options.arguments.iter().map(String::as_str));
    let status = Command::new(env!("CARGO")).args(&run).status();
    let status = status.with_context(|| format!("running cargo {}", run.join(" ")))?;
    anyhow::ensure!(status.success(), "a seed failed");
    Ok(())
}
