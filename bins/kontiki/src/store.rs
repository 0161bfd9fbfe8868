//! `kontiki store`

use clap::Args;

use crate::process;

/// Run only the replicated key-value store, with the etcd v3 API. Flags are etcd's where they mean the same.
#[derive(Args)]
pub struct Store {
    #[command(flatten)]
    flags: store::cli::Flags,
}

impl Store {
    pub fn run(self) -> anyhow::Result<()> {
        process::start_log();
        process::block_on(async move {
            let stop = process::until_asked_to_stop()?;
            Ok(store::cli::run(self.flags, stop).await?)
        })
    }
}
