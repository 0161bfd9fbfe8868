//! `cargo xtask faults`: random faults in real processes of a store, for as long as one likes.

use std::process::Command;

use anyhow::Context;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// What the program is told: --runs N --seed S.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what is tested as users get it, and strikes it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let packages = ["--package", "kontiki-store-bin", "--package", "faults-tests"];
    cargo(&[&["build", "--release", "--bins"], &packages[..]].concat())?;
    let mut run =
        vec!["run", "--release", "--quiet", "--package", "faults-tests", "--bin", "kontiki-faults", "--"];
    run.extend(options.arguments.iter().map(String::as_str));
    cargo(&run)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(env!("CARGO")).args(arguments).status();
    let status = status.with_context(|| format!("running cargo {}", arguments.join(" ")))?;
    anyhow::ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}
