//! `kontiki down`

use std::path::PathBuf;

use clap::Args;
use kontiki::{local, program};

/// Stop a cluster that `up` started, and remove its containers, networks and mounts.
///
/// What the cluster stored stays, so that `up` continues where it was, unless --delete-data is given.
#[derive(Args)]
pub struct Down {
    /// Directory of the cluster
    #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
    data_dir: PathBuf,
    /// Delete the directory and all it holds
    #[arg(long)]
    delete_data: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

impl Down {
    pub fn run(self) -> anyhow::Result<()> {
        let quiet = self.quiet;
        let say = move |step: &str| {
            if !quiet {
                println!("{step}");
            }
        };
        let down = program::block_on(local::down(&self.data_dir, self.delete_data, &say))??;
        let data = if down.deleted { "deleted" } else { "kept" };
        say(&format!("stopped {} processes; the data was {data}", down.ended));
        Ok(())
    }
}
