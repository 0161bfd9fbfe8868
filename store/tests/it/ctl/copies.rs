//! `make-mirror`.

use super::{DEADLINE, Store, start};

async fn holds(store: &Store, expected: &str) {
    let wait = async {
        while store.ask("kv get --prefix").await.unwrap() != expected {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        store.check("kv get --prefix", expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_follows() {
    let (source, destination) = (start().await, start().await);
    // More than a page, and more than a transaction.
    let many: String = (0..1100).map(|number| format!("put many/{number:04} {number}\n")).collect();
    for lines in many.lines().collect::<Vec<_>>().chunks(100) {
        source.ask_with(&["txn"], &format!("\n{}\n\n\n", lines.join("\n"))).await.unwrap();
    }
    source.check("kv put app/a 1", "OK\n").await;
    source.check("kv put other x", "OK\n").await;
    let mirror = ["make-mirror", &destination.url, "--prefix", "app/", "--dest-prefix", "copy/"];
    let changes = async {
        holds(&destination, "copy/a\n1\n").await;
        source.check("kv put app/b 2", "OK\n").await;
        holds(&destination, "copy/a\n1\ncopy/b\n2\n").await;
        source.ask_with(&["txn"], "\nput app/c 3\nput app/d 4\ndel app/a\n\n\n").await.unwrap();
        source.check("kv put other y", "OK\n").await;
        holds(&destination, "copy/b\n2\ncopy/c\n3\ncopy/d\n4\n").await;
    };
    tokio::select! {
        ended = source.ask_with(&mirror, "") => panic!("the mirror ended: {ended:?}"),
        () = changes => {}
    }
    // Three changes of one revision came as one.
    let moments = destination.ask("kv get copy/c copy/e -w json").await.unwrap();
    let moments: serde_json::Value = serde_json::from_str(&moments).unwrap();
    assert_eq!(moments["kvs"][0]["mod_revision"], moments["kvs"][1]["mod_revision"]);
    destination.check("kv del --prefix", "3\n").await;
    let mirror =
        ["make-mirror", &destination.url, "--prefix", "many/", "--no-dest-prefix", "--max-txn-ops", "7"];
    let whole = async {
        while destination.ask("kv get --prefix --count-only").await.unwrap() != "1100\n" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = source.ask_with(&mirror, "") => panic!("the mirror ended: {ended:?}"),
        done = tokio::time::timeout(DEADLINE, whole) => done.unwrap(),
    }
    destination.check("kv get many/1042", "").await;
    destination.check("kv get 0042", "0042\n42\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_may_begin_at_a_revision_that_is_there() {
    let (source, destination) = (start().await, start().await);
    for key in ["a", "b", "c"] {
        source.check(&format!("kv put {key} 1"), "OK\n").await;
    }
    let mirror = ["make-mirror", &destination.url, "--rev", "3"];
    tokio::select! {
        ended = source.ask_with(&mirror, "") => panic!("the mirror ended: {ended:?}"),
        () = holds(&destination, "b\n1\nc\n1\n") => {}
    }
    source.check("kv compact 4", "compacted revision 4\n").await;
    let error = source.ask_with(&mirror, "").await.unwrap_err();
    assert!(error.contains("required revision has been compacted"), "{error}");
    let both = ["make-mirror", &destination.url, "--dest-prefix", "x", "--no-dest-prefix"];
    assert!(source.ask_with(&both, "").await.unwrap_err().contains("cannot be used with"));
    let nobody = source.ask_with(&["make-mirror", "127.0.0.1:1"], "").await.unwrap_err();
    assert_eq!(nobody, "cannot reach 127.0.0.1:1");
}
