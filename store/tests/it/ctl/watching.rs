//! `kv watch`, from the command line and from standard input.

use tokio::io::{AsyncWriteExt, BufReader, duplex};

use super::{DEADLINE, Shared, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_runs_a_command_for_each_change() {
    let store = start().await;
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log").display().to_string();
    store.check("kv put w 1", "OK\n").await;
    store.check("kv del w", "1\n").await;
    let script = format!("echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE >> {log}");
    let words = ["kv", "watch", "w", "--rev", "1", "--", "sh", "-c", &script];
    let lines = |_: &str| std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 2);
    assert_eq!(store.see(&words, lines).await, "PUT\nw\n1\nDELETE\nw\n\n");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "\"PUT\" \"w\" \"1\"\n\"DELETE\" \"w\" \"\"\n");
    let shown = store
        .see(&["kv", "watch", "w", "--rev", "1", "-w", "fields"], |text| text.matches("Lease").count() == 2);
    assert!(shown.await.contains("\"Type\" : DELETE\n\"Key\" : \"w\"\n\"CreateRevision\" : 0\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_typed() {
    let store = start().await;
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log").display().to_string();
    store.check("kv put a 1", "OK\n").await;
    let (mut keyboard, input) = duplex(1 << 10);
    let shared = Shared::default();
    let mut out = shared.clone();
    let typing = async {
        let mut seen = String::new();
        let mut until = async |line: String, expected: &str| {
            keyboard.write_all(line.as_bytes()).await.unwrap();
            seen += expected;
            while shared.text() != seen {
                assert!(seen.starts_with(&shared.text()), "{seen}\nbut\n{}", shared.text());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        // Mistakes are told on standard error, and it goes on.
        until("progress\nget a\nwatch 'a\n\nwatch a --rev 1\n".to_owned(), "PUT\na\n1\n").await;
        until(format!("watch b --prefix --rev 1 -- sh -c 'echo $ETCD_WATCH_KEY >> {log}'\n"), "").await;
        store.check("kv put b1 2", "OK\n").await;
        until(String::new(), "PUT\nb1\n2\n").await;
        store.check("kv put a 3", "OK\n").await;
        until(String::new(), "PUT\na\n3\n").await;
        until("progress\n".to_owned(), "progress notify: 4\n").await;
        // One that cannot be ends alone.
        store.check("kv compact 4", "compacted revision 4\n").await;
        until("watch a --rev 1\nwatch c --prev-kv\nprogress\n".to_owned(), "progress notify: 4\n").await;
        store.check("kv put c 4", "OK\n").await;
        until(String::new(), "PUT\nc\n4\n").await;
        keyboard.shutdown().await.unwrap();
        std::future::pending::<()>().await;
    };
    let watch = store.attempt(&["kv", "watch", "-i"], BufReader::new(input), &mut out);
    let ended = tokio::select! {
        ended = watch => ended.unwrap().unwrap_err(),
        () = typing => unreachable!("it waits for the end of the watch"),
        () = tokio::time::sleep(DEADLINE) => panic!("it took too long: {}", shared.text()),
    };
    assert_eq!((ended.exit_code(), ended.to_string().contains("EOF")), (3, true), "{ended}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "\"b1\"\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_cannot_be_says_so() {
    let store = start().await;
    for value in ["1", "2"] {
        store.check(&format!("kv put a {value}"), "OK\n").await;
    }
    store.check("kv compact 3", "compacted revision 3\n").await;
    let error = store.ask("kv watch a --rev 1").await.unwrap_err();
    assert!(error.contains("required revision has been compacted"), "{error}");
    assert_eq!(store.exit_code(&["kv", "watch", "a", "--rev", "1"], "").await, 5);
    let error = store.ask("kv watch a -i").await.unwrap_err();
    assert!(error.contains("cannot be used with"), "{error}");
}
