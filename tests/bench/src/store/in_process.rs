//! S7 without gRPC: the same transactions by a program that holds the store.

use std::{
    process::Stdio,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use store_client::{Compare, KeyRange, Kv as _, LeaseId, Op, Order, Range, Revision, Target, Txn};

use super::work;
use crate::process;

/// Callers at the same time.
const CALLERS: usize = 1000;

/// Starts this program again, so that the generator's CPU is not counted; returns microseconds per transaction.
pub async fn measure(limit: Duration, pinned: bool) -> anyhow::Result<f64> {
    let mut command = process::command(&std::env::current_exe()?, pinned);
    command.arg("in-process-txns").arg(limit.as_secs_f64().to_string()).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("{text:?} is no number"))
}

/// Runs transactions on a store of its own for so long, and prints microseconds of CPU for each.
pub async fn serve(limit: Duration) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("kontiki-bench-").tempdir()?;
    let server = store::Server::start(store::Options::single(dir.path())).await?;
    let handle = server.handle();
    handle.read_revision().await?;
    let next = Arc::new(AtomicU64::new(0));
    // Made with the first one, and not what is measured.
    drop(work::value(0, work::VALUE_BYTES));
    let (begin, cpu) = (Instant::now(), process::cpu(std::process::id())?);
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let (handle, next) = (handle.clone(), next.clone());
        callers.push(tokio::spawn(async move {
            while begin.elapsed() < limit {
                let number = next.fetch_add(1, Ordering::Relaxed);
                handle.txn(create(number)).await?;
            }
            Ok::<_, store_client::Error>(())
        }));
    }
    for caller in callers {
        caller.await??;
    }
    let cpu = process::cpu(std::process::id())?.saturating_sub(cpu);
    println!("{}", cpu.as_secs_f64() * 1e6 / next.load(Ordering::Relaxed) as f64);
    server.stop().await?;
    Ok(())
}

fn create(number: u64) -> Txn {
    let key = Bytes::from([b"k".as_slice(), &(number / 2).to_be_bytes()].concat());
    let keys = KeyRange::Key(key.clone());
    Txn {
        compare: vec![Compare {
            keys: keys.clone(),
            target: Target::ModRevision(Revision(0)),
            order: Order::Equal,
        }],
        success: vec![Op::Put {
            key,
            value: work::value(number, work::VALUE_BYTES),
            lease: LeaseId(0),
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        }],
        failure: vec![Op::Range(Range::new(keys))],
    }
}
