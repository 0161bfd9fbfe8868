//! Answers in all forms, beside etcdctl's where it is installed, and what commands exit with.

use serde_json::Value;

use super::{DEADLINE, Store, start};

/// As JSON, so that the order of fields does not matter; or as lines, without those that 3.4 has not or has twice.
fn comparable(printed: &str) -> (Option<Value>, Vec<&str>) {
    const OTHER: [&str; 8] = [
        "\"StorageVersion\"",
        "\"DBSizeInUse\"",
        "\"DBSizeQuota\"",
        "\"Downgrade",
        "\"HashRevision\"",
        "\"RaftTerm\"",
        "\"Took\"",
        "\"DBSize\"",
    ];
    match serde_json::from_str(printed) {
        Ok(value) => (Some(value), Vec::new()),
        Err(_) => {
            let lines = printed.lines().filter(|line| !OTHER.iter().any(|other| line.starts_with(other)));
            (None, lines.collect())
        }
    }
}

async fn compare(store: &Store, line: &str) {
    let own = store.ask(line).await.unwrap().replace("http://", "");
    let Some(theirs) = store.etcdctl(line).await else { return };
    let theirs = theirs.replace("http://", "");
    assert_eq!(comparable(&own), comparable(&theirs), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_forms_are_etcdctls() {
    let store = start().await;
    store.check("role add r", "Role r created\n").await;
    store.check("role grant-permission r readwrite a --prefix", "Role r updated\n").await;
    store.check("role grant-permission r read b", "Role r updated\n").await;
    store.check("user add u:p", "User u created\n").await;
    store.check("user grant-role u r", "Role r is granted to user u\n").await;
    let granted = store.ask("lease grant 600").await.unwrap();
    let lease = granted.split_whitespace().nth(1).unwrap();
    store.check(&format!("kv put k v --lease {lease}"), "OK\n").await;
    for line in ["member list", "lease list", "role list", "role get r", "alarm list"] {
        for form in ["simple", "fields", "json"] {
            compare(&store, &format!("{line} -w {form}")).await;
        }
    }
    for line in ["user list", "user get u"] {
        compare(&store, &format!("{line} -w json")).await;
    }
    for line in ["endpoint status -w fields", "endpoint hashkv -w fields", "endpoint health -w fields"] {
        compare(&store, line).await;
    }
    let left = format!("lease timetolive {lease} --keys -w fields");
    let fields = store.ask(&left).await.unwrap();
    assert!(fields.contains("\"GrantedTTL\" : 600\n\"Key\" : \"k\"\n"), "{fields}");
    // etcdctl 3.6 can do neither.
    let fields = store.ask("user get u -w fields").await.unwrap();
    assert!(fields.ends_with("\"Roles\" : \"r\"\n"), "{fields}");
    let hexadecimal = store.ask("member list --hex -w json").await.unwrap();
    let members: Value = serde_json::from_str(&hexadecimal).unwrap();
    let listed = store.ask("member list").await.unwrap();
    assert_eq!(members["members"][0]["ID"].as_str(), listed.split(',').next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_printed_as_they_came() {
    use proto::etcd::etcdserverpb as pb;
    use tonic::codegen::Bytes;
    let store = start().await;
    store.check("kv put k v", "OK\n").await;
    let mut out = Vec::new();
    store.run(&["kv", "get", "k", "-w", "protobuf"], "", &mut out).await.unwrap();
    let found: pb::RangeResponse = prost_of(&out);
    assert_eq!((found.count, found.kvs[0].value.clone()), (1, Bytes::from("v")));
    out.clear();
    store.run(&["member", "list", "-w", "protobuf"], "", &mut out).await.unwrap();
    let found: pb::MemberListResponse = prost_of(&out);
    assert_eq!(found.members.len(), 1);
    assert_eq!(store.exit_code(&["endpoint", "status", "-w", "protobuf"], "").await, 4);
}

fn prost_of<M: prost::Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_exit_as_etcdctl_does() {
    let store = start().await;
    for (line, input, code) in [
        ("kv get a", "", 0),
        ("kv get", "", 128),
        ("kv get a --min-mod-rev 3 --max-mod-rev 2", "", 128),
        ("txn", "nonsense", 3),
        ("lease revoke 77", "", 1),
        ("endpoint health --cluster", "", 0),
    ] {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(store.exit_code(&words, input).await, code, "{line}");
    }
    assert_eq!(store.exit_code(&["lock", "l", "sh", "-c", "exit 7"], "").await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_asked_although_one_is_gone() {
    let store = start().await;
    // Where clients reach it is known soon after it answers.
    let listed = async {
        loop {
            let listed = store.ask("endpoint status --cluster").await.unwrap();
            if !listed.is_empty() {
                return listed;
            }
        }
    };
    let listed = tokio::time::timeout(DEADLINE, listed).await.unwrap();
    assert!(listed.starts_with(&store.url) && listed.contains(", 3.6.0, 3.6.0, "), "{listed}");
    store.check("endpoint hashkv --cluster", &format!("{}, 0, 1\n", store.url)).await;
    store.check("member list --consistency s", &store.ask("member list").await.unwrap()).await;
    let both = format!("127.0.0.1:1,{}", store.url);
    for (what, complaint) in
        [("status", "cannot reach 127.0.0.1:1"), ("hashkv", "cannot reach"), ("health", "unhealthy cluster")]
    {
        let mut out = Vec::new();
        let words = ["kontiki", "endpoint", what, "--endpoints", &both];
        let arguments = <super::Arguments as clap::Parser>::try_parse_from(words).unwrap();
        let outcome = store::ctl::run(arguments.command, &mut out).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(complaint), "{what}: {error}");
        assert_eq!(error.exit_code(), 1);
        assert!(String::from_utf8(out).unwrap().starts_with(&store.url), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_makes_a_member_unhealthy() {
    use proto::etcd::etcdserverpb as pb;
    let store = start().await;
    let channel = tonic::transport::Channel::from_shared(store.url.clone()).unwrap().connect().await.unwrap();
    let action = pb::alarm_request::AlarmAction::Activate.into();
    let raise = pb::AlarmRequest { action, member_id: 7, alarm: 1 };
    pb::maintenance_client::MaintenanceClient::new(channel).alarm(raise).await.unwrap();
    let mut out = Vec::new();
    let outcome = store.run(&["endpoint", "health", "-w", "json"], "", &mut out).await;
    assert_eq!(outcome.unwrap_err(), "unhealthy cluster");
    let health: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&health[0]["health"], &health[0]["error"]),
        (&false.into(), &"Active Alarm(s): NOSPACE ".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_select_keys() {
    let store = start().await;
    for key in ["a", "b", "c", "a"] {
        store.check(&format!("kv put {key} 1"), "OK\n").await;
    }
    for (flags, expected) in [
        ("--min-create-rev 3", "b\n\nc\n\n"),
        ("--max-create-rev 2", "a\n\n"),
        ("--min-mod-rev 4", "a\n\nc\n\n"),
        ("--max-mod-rev 3", "b\n\n"),
    ] {
        store.check(&format!("kv get --prefix --keys-only {flags}"), expected).await;
    }
}
