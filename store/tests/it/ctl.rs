//! The commands for people: what they print, and that etcdctl prints the same.

use std::process::Command;

use clap::Parser;
use store::Server;

use crate::single::serve;

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

async fn start() -> Store {
    let scratch = tempfile::tempdir().unwrap();
    let (server, url) = serve(scratch.path()).await;
    server.handle().raft().read_index().await.unwrap();
    Store { _server: server, _scratch: scratch, url }
}

impl Store {
    async fn ask(&self, line: &str) -> Result<String, String> {
        let words = ["kontiki"].into_iter().chain(line.split_whitespace()).chain(["--endpoints", &self.url]);
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        store::ctl::run(arguments.command, &mut out).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    async fn check(&self, line: &str, expected: &str) {
        assert_eq!(self.ask(line).await.as_deref(), Ok(expected), "{line}");
    }

    /// What etcdctl says, where it is installed.
    async fn etcdctl(&self, line: &str) -> Option<String> {
        let mut command = Command::new("etcdctl");
        // Without the scheme: with it, etcdctl 3.4 sends a URL where HTTP/2 has a host, which our side refuses.
        let endpoint = self.url.trim_start_matches("http://");
        command.env("ETCDCTL_API", "3").args(line.split_whitespace()).args(["--endpoints", endpoint]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().ok()?;
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
            false => assert_eq!(plain(&said), plain(&expected), "{ours}"),
        }
    }
    let status = store.ask("endpoint status").await.unwrap();
    let theirs = store.etcdctl("endpoint status").await.unwrap();
    let stable = |text: &str| text.split(", ").take(5).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(stable(&status)[1..3], stable(&theirs)[1..3]);
    assert!(store.ask("endpoint health").await.unwrap().contains("is healthy"));
    store.check(&format!("lease revoke {lease}"), &format!("lease {lease} revoked\n")).await;
    store.check("kv get k --keys-only", "k\n").await;
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
