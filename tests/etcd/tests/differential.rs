//! The same random calls have the same answers from our store and from etcd.

use etcd_tests::pair::Pair;
use etcd_tests::server::skipped;

async fn compare(seed: u64) {
    let Some(mut pair) = Pair::start().await.expect("both start") else { return skipped("etcd") };
    let compared = pair.compare(seed, 2000).await.unwrap_or_else(|difference| {
        panic!(
            "{difference:#}\nagain: cargo run -p etcd-tests --bin kontiki-etcd -- --calls 2000 --seed {seed}"
        )
    });
    assert!(compared.events > 400 && compared.refused > 100, "too little was compared: {compared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_are_answered_as_etcd_answers_them() {
    compare(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_random_calls_too() {
    compare(2).await;
}
