//! The commands for people: what they print, and that etcdctl prints the same.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use clap::Parser;
use store::Server;
use store_client::testing::DEADLINE;

use crate::single::serve;

mod checks;
mod copies;
mod forms;
mod images;
mod tls;
mod watching;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: store::ctl::Command,
}

struct Store {
    _server: Server,
    _scratch: tempfile::TempDir,
    url: String,
}

/// What is printed, to be read while it is printed.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn start() -> Store {
    let scratch = tempfile::tempdir().unwrap();
    let (server, url) = serve(scratch.path()).await;
    server.handle().raft().read_index().await.unwrap();
    Store { _server: server, _scratch: scratch, url }
}

impl Store {
    async fn ask(&self, line: &str) -> Result<String, String> {
        self.ask_with(&line.split_whitespace().collect::<Vec<_>>(), "").await
    }

    async fn ask_with(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut out = Vec::new();
        self.run(words, input, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// What the program would exit with.
    async fn exit_code(&self, words: &[&str], input: &str) -> u8 {
        let outcome = self.attempt(words, input.as_bytes(), &mut Vec::new()).await.unwrap();
        outcome.map_or_else(|error| error.exit_code(), |()| 0)
    }

    async fn run(&self, words: &[&str], input: &str, out: &mut (dyn Write + Send)) -> Result<(), String> {
        self.attempt(words, input.as_bytes(), out).await?.map_err(|error| error.to_string())
    }

    /// Fails at once when the arguments cannot be parsed.
    async fn attempt(
        &self,
        words: &[&str],
        mut input: impl tokio::io::AsyncBufRead + Send + Unpin,
        out: &mut (dyn Write + Send),
    ) -> Result<Result<(), store::ctl::Error>, String> {
        // The endpoint comes before what a command may be told to run.
        let place = words.iter().position(|word| ["--", "sh"].contains(word)).unwrap_or(words.len());
        let mut words: Vec<_> = ["kontiki"].into_iter().chain(words.iter().copied()).collect();
        // Before the name of the lock, or at the end of what is not to be run.
        let place = if words[1] == "lock" { 2 } else { 1 + place };
        words.splice(place..place, ["--endpoints", &self.url]);
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(store::ctl::run_with(arguments.command, &mut input, out).await)
    }

    /// Runs a command until what it has printed satisfies; then it is dropped, as it would go on.
    async fn see(&self, words: &[&str], satisfied: impl Fn(&str) -> bool) -> String {
        let shared = Shared::default();
        let mut out = shared.clone();
        let seen = async {
            loop {
                let text = shared.text();
                if satisfied(&text) {
                    return text;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            text = tokio::time::timeout(DEADLINE, seen) => text.unwrap(),
            ended = self.run(words, "", &mut out) => panic!("{words:?} ended: {ended:?}"),
        }
    }

    async fn check(&self, line: &str, expected: &str) {
        assert_eq!(self.ask(line).await.as_deref(), Ok(expected), "{line}");
    }

    /// What etcdctl says, where it is installed.
    async fn etcdctl(&self, line: &str) -> Option<String> {
        self.etcdctl_with(line, "").await
    }

    async fn etcdctl_with(&self, line: &str, input: &str) -> Option<String> {
        let mut command = Command::new("etcdctl");
        // Without the scheme: with it, etcdctl 3.4 sends a URL where HTTP/2 has a host, which our side refuses.
        let endpoint = self.url.trim_start_matches("http://");
        command.env("ETCDCTL_API", "3").args(line.split_whitespace()).args(["--endpoints", endpoint]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_written_read_and_deleted() {
    let store = start().await;
    store.check("kv put a 1", "OK\n").await;
    store.check("kv put a 2 --prev-kv", "OK\na\n1\n").await;
    store.check("kv get a", "a\n2\n").await;
    store.check("kv get a --at 2", "a\n1\n").await;
    store.check("kv diff --from 2 --prefix", "~ a\n  < 1\n  > 2\n").await;
    store.check("kv del --prefix a --prev-kv", "1\na\n2\n").await;
    store.check("kv del a", "0\n").await;
    store.check("kv undelete a", "1 keys brought back in 1 transactions, revision 5\n").await;
    store.check("kv get a", "a\n2\n").await;
    store.check("kv compact 5", "compacted revision 5\n").await;
    let fields = store.ask("kv put b 1 -w fields").await.unwrap();
    assert!(fields.contains("\"Revision\" : 6\n"), "{fields}");
    let json = store.ask("kv put b 2 --prev-kv -w json").await.unwrap();
    assert!(
        json.contains(
            r#""prev_kv":{"create_revision":6,"key":"Yg==","mod_revision":6,"value":"MQ==","version":1}"#
        ),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_large_as_members_make_them_unless_told_otherwise() {
    let store = start().await;
    let value = "v".repeat(1 << 20);
    for key in ["k1", "k2", "k3", "k4", "k5"] {
        assert_eq!(store.ask_with(&["kv", "put", key], &value).await.as_deref(), Ok("OK\n"));
    }
    let refused = store.ask("kv get --prefix k --max-recv-bytes 4194304").await.unwrap_err();
    assert!(refused.contains("the limit is: 4194304 bytes"), "{refused}");
    let refused = store.ask_with(&["kv", "put", "k6", "--max-request-bytes", "1000"], &value).await;
    assert_eq!(refused.unwrap_err(), "trying to send message larger than max (1048584 vs. 1000)");
    let deleted = store.ask("kv del --prefix k --prev-kv").await.unwrap();
    assert_eq!(deleted.len(), "5\n".len() + 5 * ("k1\n".len() + value.len() + 1));
    // One change of the watch is five deletions, each with what was there.
    let words = ["kv", "watch", "--prefix", "k", "--rev", "7", "--prev-kv"];
    let seen = store.see(&words, |text| text.matches("DELETE").count() == 5).await;
    assert!(seen.len() > 5 * value.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named() {
    let store = start().await;
    let cases = [
        ("kv put a 1 --lease 7f", "etcdserver: requested lease not found"),
        ("kv put a 1 --lease xyz", "not a hexadecimal number"),
        ("kv get", "name a key"),
        ("kv get a --at 99", "future revision"),
        ("member remove xyz", "expecting ID in Hex"),
        ("member remove 77", "etcdserver: member not found"),
        ("lease revoke 77", "etcdserver: requested lease not found"),
        ("endpoint move-leader 77", "etcdserver: bad leader transferee"),
    ];
    for (line, expected) in cases {
        let error = store.ask(line).await.unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_says_the_same() {
    let store = start().await;
    let granted = store.ask("lease grant 600").await.unwrap();
    let lease = granted.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {lease} granted with TTL(600s)\n"));
    store.check(&format!("kv put k v --lease {lease}"), "OK\n").await;
    let renewed = store.ask(&format!("lease keep-alive {lease} --once")).await;
    assert_eq!(renewed, Ok(format!("lease {lease} keepalived with TTL(600)\n")));
    let same = [
        ("kv get k".to_owned(), "get k".to_owned()),
        ("lease list".to_owned(), "lease list".to_owned()),
        (format!("lease timetolive {lease} --keys"), format!("lease timetolive {lease} --keys")),
        ("member list".to_owned(), "member list".to_owned()),
        ("member list -w table".to_owned(), "member list -w table".to_owned()),
        ("endpoint hashkv".to_owned(), "endpoint hashkv".to_owned()),
        ("endpoint hashkv --rev 2".to_owned(), "endpoint hashkv --rev 2".to_owned()),
        ("kv put k w --prev-kv".to_owned(), "put k w --prev-kv".to_owned()),
        ("kv put k w --prev-kv".to_owned(), "put k w --prev-kv".to_owned()),
        ("kv del none".to_owned(), "del none".to_owned()),
    ];
    for (ours, theirs) in same {
        let Some(expected) = store.etcdctl(&theirs).await else {
            eprintln!("skipped: etcdctl is not installed");
            return;
        };
        let said = store.ask(&ours).await.unwrap();
        // Their table has its cells on the other side; and each put changes what the next finds.
        let plain = |text: &str| text.replace("http://", "").split_whitespace().collect::<Vec<_>>().join(" ");
        match ours.starts_with("kv put") {
            true => assert_eq!(said.lines().next(), expected.lines().next(), "{ours}"),
            // Before 3.6 the revision was not told.
            false if ours.contains("hashkv") => {
                assert!(plain(&said).starts_with(&plain(&expected)), "{said}")
            }
            false => assert_eq!(plain(&said), plain(&expected), "{ours}"),
        }
    }
    assert!(store.ask("endpoint health").await.unwrap().contains("is healthy"));
    store.check(&format!("lease revoke {lease}"), &format!("lease {lease} revoked\n")).await;
    store.check("kv get k --keys-only", "k\n\n").await;
    store.check("kv get --prefix --count-only", "1\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_are_listed_and_ended() {
    use proto::etcd::etcdserverpb as pb;
    let store = start().await;
    store.check("alarm list", "").await;
    let raise = || async {
        let channel = tonic::transport::Channel::from_shared(store.url.clone()).unwrap().connect().await;
        let mut client = pb::maintenance_client::MaintenanceClient::new(channel.unwrap());
        let action = pb::alarm_request::AlarmAction::Activate.into();
        client.alarm(pb::AlarmRequest { action, member_id: 7, alarm: 1 }).await.unwrap();
    };
    raise().await;
    let line = "memberID:7 alarm:NOSPACE \n";
    store.check("alarm list", line).await;
    let Some(theirs) = store.etcdctl("alarm list").await else {
        eprintln!("skipped: etcdctl is not installed");
        return;
    };
    assert_eq!(theirs, line);
    store.check("alarm disarm", line).await;
    store.check("alarm disarm", "").await;
    raise().await;
    assert_eq!(store.etcdctl("alarm disarm").await.as_deref(), Some(line));
    store.check("alarm list", "").await;
}

/// As JSON, if it is: fields may stand in another order. etcdctl before 3.5 names the answers in a transaction otherwise.
fn comparable(printed: &str) -> String {
    let names = [
        ("ResponseRange", "response_range"),
        ("ResponsePut", "response_put"),
        ("ResponseDeleteRange", "response_delete_range"),
    ];
    match serde_json::from_str::<serde_json::Value>(printed) {
        Ok(value) => names.iter().fold(value.to_string(), |text, (old, new)| text.replace(old, new)),
        Err(_) => printed.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_printed_as_etcdctl_prints_them() {
    let store = start().await;
    for (key, value) in
        [("k1", "3"), ("k2", "two\nlines\t\"\u{e4}\u{1}"), ("k3", "1"), ("k3", "2"), ("l", "")]
    {
        store.ask_with(&["kv", "put", key], value).await.unwrap();
    }
    let lines = [
        "get k1",
        "get none",
        "get k1 k3",
        "get --prefix k",
        "get --prefix k --limit 1",
        "get --prefix k --sort-by VALUE --order DESCEND",
        "get --prefix k --sort-by MODIFY --order ascend --keys-only",
        "get --from-key k2",
        "get --from-key k2 --hex",
        "get k3 --rev 4",
        "get k3 --consistency s",
        "del none",
        "del none --prev-kv",
    ];
    for line in lines {
        for format in ["simple", "json", "fields"] {
            let line = format!("{line} -w {format}");
            let Some(expected) = store.etcdctl(&line).await else {
                eprintln!("skipped: etcdctl is not installed");
                return;
            };
            let said = store.ask(&format!("kv {line}")).await.unwrap();
            // Before 3.5 ids in fields are decimal in spite of --hex.
            let hex = line.contains("--hex -w fields");
            let stable = |text: &str| match hex {
                true => comparable(text)
                    .lines()
                    .filter(|line| !line.contains("ID\" :") && !line.contains("Lease"))
                    .collect(),
                false => comparable(text),
            };
            assert_eq!(stable(&said), stable(&expected), "{line}");
        }
    }
    let line = "get --prefix k3 --print-value-only";
    assert_eq!(store.ask(&format!("kv {line}")).await.ok(), store.etcdctl(line).await, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_read_and_printed_as_etcdctl_does() {
    let store = start().await;
    store.check("kv put a 1", "OK\n").await;
    store.check("kv put b 2", "OK\n").await;
    let input = "value(\"a\") = \"1\"\nmod(\"b\")  > \"0\"\nver(\"none\") = \"0\"\n\n\
                 get a\nget a c\nget none\ndel none\n\nget b\n\n";
    for input in [input.to_owned(), input.replace("= \"1\"", "!= \"1\""), "\n\n\n".to_owned()] {
        for format in ["simple", "json", "fields"] {
            let said = store.ask_with(&["txn", "-w", format], &input).await.unwrap();
            let Some(expected) = store.etcdctl_with(&format!("txn -w {format}"), &input).await else {
                eprintln!("skipped: etcdctl is not installed");
                break;
            };
            assert_eq!(comparable(&said), comparable(&expected), "{format}: {input}");
        }
    }
    let change =
        "create(\"n\") = \"0\"\n\nput n 'a b' --prev-kv\nput a 3 --prev-kv\ndel b --prev-kv\n\nget n\n\n";
    let said = store.ask_with(&["txn"], change).await;
    assert_eq!(said.as_deref(), Ok("SUCCESS\n\nOK\n\nOK\na\n1\n\n1\nb\n2\n"));
    assert_eq!(
        store.ask_with(&["txn", "-i"], change).await.unwrap(),
        "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\nFAILURE\n\nn\na b\n"
    );
    for (input, why) in [
        ("value(a) = 1\n", "malformed comparison: value(a) = 1"),
        ("\nput a\n", "invalid txn request: put a"),
        ("\nput a 1\nput a 2\n", "etcdserver: duplicate key given in txn request"),
    ] {
        let error = store.ask_with(&["txn"], input).await.unwrap_err();
        assert!(error.contains(why), "{input}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_while_a_command_runs() {
    let store = start().await;
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (log, go) = (path("log"), path("go"));
    let first =
        format!("until [ -e {go} ]; do sleep 0.01; done; echo $ETCD_LOCK_KEY $ETCD_LOCK_REV >> {log}");
    let second = format!("echo second >> {log}");
    let words = [["lock", "l", "sh", "-c", &first], ["lock", "l", "sh", "-c", &second]];
    let held = Box::pin(store.ask_with(&words[0], ""));
    let waiting = Box::pin(async {
        while store.ask("kv get --prefix l/").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let waiting = Box::pin(store.ask_with(&words[1], ""));
        let release = async {
            while store.ask("kv get --prefix l/ --count-only").await.unwrap() != "2\n" {
                tokio::task::yield_now().await;
            }
            std::fs::write(&go, "").unwrap();
        };
        tokio::join!(waiting, release).0
    });
    let (held, waited) = tokio::time::timeout(DEADLINE, async { tokio::join!(held, waiting) }).await.unwrap();
    assert_eq!((held.as_deref(), waited.as_deref()), (Ok(""), Ok("")));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.starts_with("l/") && log.ends_with(" 2\nsecond\n"), "{log}");
    let failed = store.ask_with(&["lock", "l", "sh", "-c", "exit 3"], "").await;
    assert_eq!(failed.unwrap_err(), "exit status: 3");
    store.check("kv get --prefix l/", "").await;
    store.check("lease list", "found 0 leases\n").await;
    let shown = store.see(&["lock", "m"], |text| text.ends_with("\n\n")).await;
    store.check("kv get --prefix m/", &shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_shows_who_is_elected() {
    let store = start().await;
    for (line, why) in [("elect e", "PROPOSAL"), ("elect -l e v", "cannot be used with")] {
        let error = store.ask(line).await.unwrap_err();
        assert!(error.contains(why), "{line}: {error}");
    }
    let ends = |text: &str| text.ends_with("\nmine\n");
    let elected = store.see(&["elect", "e", "mine"], ends).await;
    assert!(elected.starts_with("e/"), "{elected}");
    // Whoever was dropped is in office until its lease ends.
    assert_eq!(store.see(&["elect", "--listen", "e"], ends).await, elected);
    let fields = store.see(&["elect", "-l", "e", "-w", "fields"], |text| text.contains("Count")).await;
    assert!(fields.contains("\"Value\" : \"mine\"\n"), "{fields}");
}
