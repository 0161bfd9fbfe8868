//! `kontiki store`

use clap::Args;
use kontiki::program;

/// Run only the replicated key-value store, with the etcd v3 API. Flags are etcd's where they mean the same.
#[derive(Args)]
pub struct Store {
    #[command(flatten)]
    flags: store::cli::Flags,
}

impl Store {
    pub fn run(self) -> anyhow::Result<()> {
        let flags = self.flags.resolve()?;
        program::start_log_at(&flags.log_filter());
        program::block_on_store(async move {
            let stop = program::until_asked_to_stop()?;
            Ok(store::cli::run(flags, stop).await?)
        })?
    }
}

/// `kontiki kv`, `lease`, `member`, `endpoint` and `snapshot`
pub fn ask(ask: store::ctl::Command) -> anyhow::Result<()> {
    program::block_on(async move { Ok(store::ctl::run(ask, &mut std::io::stdout()).await?) })?
}
