//! `cargo xtask bench NAME`: builds what is measured, and runs the program that measures it.

use crate::cargo::cargo;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Measure what is made for other machines (`make dist`), and not what `make up` builds.
    #[arg(long)]
    dist: bool,
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
    let profile = ["--profile", if options.dist { "dist" } else { "release" }];
    cargo(&[&["build"], &profile[..], &packages].concat())?;
    let program = ["--quiet", "--package", "bench", "--bin", "kontiki-bench", "--"];
    let mut run = [&["run"], &profile[..], &program].concat();
    run.push(&options.name);
    run.extend(options.arguments.iter().map(String::as_str));
    cargo(&run)
}
