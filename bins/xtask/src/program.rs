//! `cargo xtask faults`, `etcd`, `simulate`: programs of the tests that go on for as long as one likes.

use crate::cargo::cargo;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// What the program is told, such as --seed 7 or --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A program and what it wants beside itself.
pub struct Program {
    /// Its package.
    package: &'static str,
    /// Its name.
    name: &'static str,
    /// Packages whose programs it starts.
    starts: &'static [&'static str],
}

/// Random faults in real processes of a store.
pub const FAULTS: Program =
    Program { package: "faults-tests", name: "kontiki-faults", starts: &["kontiki-store-bin"] };
/// The same random calls to our store and to etcd.
pub const ETCD: Program = Program { package: "etcd-tests", name: "kontiki-etcd", starts: &[] };
/// Clusters in one process, one seed each.
pub const SIMULATE: Program = Program { package: "simulation-tests", name: "kontiki-simulate", starts: &[] };

/// Builds what is tested as users get it, and runs the program.
pub fn run(program: &Program, options: &Options) -> anyhow::Result<()> {
    let mut build = vec!["build", "--release", "--bins", "--package", program.package];
    build.extend(program.starts.iter().flat_map(|package| ["--package", package]));
    cargo(&build)?;
    let package = ["--package", program.package, "--bin", program.name, "--"];
    let mut run = [&["run", "--release", "--quiet"], &package[..]].concat();
    run.extend(options.arguments.iter().map(String::as_str));
    cargo(&run)
}
