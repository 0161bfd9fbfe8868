//! The same random calls to our store and to etcd, for as long as one likes.

use anyhow::Context;
use clap::Parser;
use etcd_tests::guarded::Guarded;
use etcd_tests::pair::Pair;

#[derive(Parser)]
#[command(about = "Makes the same random calls to our store and to etcd, and compares the answers")]
struct Arguments {
    /// How many calls.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// The same seed gives the same calls.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls by random users, who come and go.
    #[arg(long)]
    users: bool,
}

/// Calls of one pair of servers: what has gone wrong is found in a history that can be read.
const CALLS_PER_PAIR: u64 = 20_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { calls, seed, users } = Arguments::parse();
    let mut done = 0;
    for seed in seed.. {
        if done >= calls {
            break;
        }
        let calls_now = CALLS_PER_PAIR.min(calls - done);
        if users {
            let mut guarded = Guarded::start().await?.context("etcd is not installed")?;
            let compared = guarded.compare(seed, calls_now).await?;
            done += calls_now;
            println!("seed {seed}: {compared:?}; {done} of {calls}");
            continue;
        }
        let mut pair = Pair::start().await?.context("etcd is not installed")?;
        let compared = pair.compare(seed, calls_now).await?;
        done += compared.calls;
        println!("seed {seed}: {compared:?}; {done} of {calls}");
    }
    Ok(())
}
