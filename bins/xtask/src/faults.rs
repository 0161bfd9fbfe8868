//! `cargo xtask faults`: random faults in real processes of a store, for as long as one likes.

use crate::cargo::cargo;

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
