//! `cargo xtask bench NAME`: builds what is measured as users get it, and runs the program that measures it.

use crate::cargo::cargo;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Which program: start, pod, failover, api or store.
    name: String,
    /// What the program is told, such as --quick or --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // Both in one target directory, so that the program finds `kontiki` beside itself.
    let packages = ["--package", "kontiki-cli", "--package", "bench", "--bins"];
    cargo(&[&["build", "--release"], &packages[..]].concat())?;
    let mut run = vec!["run", "--release", "--quiet", "--package", "bench", "--bin", "kontiki-bench", "--"];
    run.push(&options.name);
    run.extend(options.arguments.iter().map(String::as_str));
    cargo(&run)
}
