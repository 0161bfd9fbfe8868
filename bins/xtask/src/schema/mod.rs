//! `cargo xtask schema`: published definitions and recorded facts in, the committed table out.
//!
//! ```text
//! PyPI kubernetes-validate --definitions--+
//! data/fields.txt   (numbers, pointers) --+--> build --> table.txt  (one line per type and field)
//! data/defaults.json (static defaults)  --+         \-> docs.zz    (descriptions, deflated, read when asked for)
//! ```
//!
//! The output is a function of the inputs: running it twice gives the same bytes.

mod build;
mod defaults;
mod facts;
mod source;

use std::path::PathBuf;

use anyhow::Context;

/// Where the table goes.
const OUTPUT: &str = "control-plane/api/src/schema/data";

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// A wheel of kubernetes-validate to use instead of downloading it.
    #[arg(long)]
    wheel: Option<PathBuf>,
    /// Fail if the committed files are not what would be written, and write nothing.
    #[arg(long)]
    check: bool,
}

/// Derives the table and writes it, or compares it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let root = root()?;
    let definitions = source::definitions(options.wheel.as_deref(), &root)?;
    let facts = facts::Facts::parse(include_str!("../../data/fields.txt"))?;
    let defaults = defaults::Defaults::parse(include_str!("../../data/defaults.json"))?;
    let output = build::build(&definitions, &facts, &defaults)?;
    let directory = root.join(OUTPUT);
    for (name, bytes) in [("table.txt", output.table.into_bytes()), ("docs.zz", output.docs)] {
        let path = directory.join(name);
        if options.check {
            let committed = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            anyhow::ensure!(committed == bytes, "{} is stale: run cargo xtask schema", path.display());
        } else {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}

/// The workspace's root.
fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").context("run it as cargo xtask schema")?);
    here.join("../..").canonicalize().context("finding the workspace's root")
}
