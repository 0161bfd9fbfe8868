//! The same random calls have the same answers from our store and from etcd.

use etcd_tests::guarded::Guarded;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_users_may_do_what_etcd_lets_them_do() {
    let Some(mut guarded) = Guarded::start().await.expect("both start") else { return skipped("etcd") };
    let compared = guarded.compare(1, 3000).await.unwrap_or_else(|difference| {
        panic!(
            "{difference:#}\nagain: cargo run -p etcd-tests --bin kontiki-etcd -- --users --calls 3000 --seed 1"
        )
    });
    let counted = compared.logins > 30 && compared.allowed > 500 && compared.denied > 200;
    assert!(counted, "too little was compared: {compared:?}");
}
