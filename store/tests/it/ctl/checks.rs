//! `check`, and what makes no sense here.

use super::{Shared, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_judged_and_cleaned_up() {
    let store = start().await;
    let shared = Shared::default();
    let words = ["check", "perf", "--duration", "1s", "--auto-compact", "--auto-defrag"];
    // A busy machine may be too slow; the lines are there all the same.
    let outcome = store.run(&words, "", &mut shared.clone()).await;
    let text = shared.text();
    for part in
        ["Compacted with revision", "nothing to defragment", "Throughput", "Slowest request", "Stddev"]
    {
        assert!(text.contains(part), "{text}");
    }
    match outcome {
        Ok(()) => assert!(text.ends_with("\nPASS\n"), "{text}"),
        Err(error) => assert!(text.ends_with("\nFAIL\n") && error.contains("too slow"), "{error}: {text}"),
    }
    store.check("kv get --prefix --count-only", "0\n").await;
    store.check("kv put /etcdctl-check-perf/mine 1", "OK\n").await;
    assert_eq!(store.exit_code(&["check", "perf"], "").await, 3);
    store.check("kv get --prefix --count-only", "1\n").await;
    assert_eq!(store.exit_code(&["check", "perf", "--prefix", ""], "").await, 128);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_for_many_keys_is_told() {
    let store = start().await;
    let text = store.ask("check datascale --keys 300").await.unwrap();
    let (begin, end) = text.split_once('\n').unwrap();
    assert_eq!(
        begin,
        "Start data scale check for work load [300 key-value pairs, 1024 bytes per key-value, 50 concurrent clients]."
    );
    assert!(end.starts_with("PASS: Approximate system memory used : ") && end.ends_with(" MB.\n"), "{end}");
    store.check("kv get --prefix --count-only", "0\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_here_is_said() {
    let store = start().await;
    store
        .check(
            "defrag --cluster",
            "There is nothing to defragment: space is given back when revisions are compacted.\n",
        )
        .await;
    let error = store.ask("downgrade validate 3.5").await.unwrap_err();
    assert!(error.contains("there is no version to downgrade to"), "{error}");
}
