//! `kontiki auth`, `user` and `role`, beside etcdctl where it is installed.

use std::process::Command;

use clap::Parser;

use super::Store;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: store::ctl::Command,
}

async fn ask(store: &Store, line: &str) -> Result<String, String> {
    let words = ["kontiki"].into_iter().chain(line.split_whitespace()).chain(["--endpoints", &store.url]);
    let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    store::ctl::run(arguments.command, &mut out).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

async fn check(store: &Store, line: &str, expected: &str) {
    assert_eq!(ask(store, line).await.as_deref(), Ok(expected), "{line}");
}

async fn refuse(store: &Store, line: &str, expected: &str) {
    let error = ask(store, line).await.expect_err(line);
    assert!(error.contains(expected), "{line}: {error}");
}

/// What etcdctl prints, where it is installed, or that it complains.
async fn etcdctl(store: &Store, line: &str) -> Option<Result<String, ()>> {
    let mut command = Command::new("etcdctl");
    let endpoint = store.url.trim_start_matches("http://");
    command.env("ETCDCTL_API", "3").args(line.split_whitespace()).args(["--endpoints", endpoint]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().ok()?;
    Some(if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_roles_are_managed_in_etcdctls_words() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    check(&store, "auth status", "Authentication Status: false\nAuthRevision: 1\n").await;
    refuse(&store, "auth enable", "etcdserver: root user does not exist").await;
    check(&store, "user add root:secret", "User root created\n").await;
    // As long as auth is off, a user does no harm.
    check(&store, "kv put a 1 --user root:secret", "OK\n").await;
    check(&store, "auth enable", "Authentication Enabled\n").await;
    refuse(&store, "kv get a", "etcdserver: user name is empty").await;
    refuse(&store, "kv get a --user root:wrong", "etcdserver: authentication failed").await;
    check(&store, "kv get a --user root --password secret", "a\n1\n").await;
    let root = "--user root:secret";
    check(&store, &format!("auth status {root}"), "Authentication Status: true\nAuthRevision: 4\n").await;
    check(&store, &format!("role add app {root}"), "Role app created\n").await;
    let grant = format!("role grant-permission {root} app");
    check(&store, &format!("{grant} readwrite app/ --prefix"), "Role app updated\n").await;
    check(&store, &format!("{grant} read conf"), "Role app updated\n").await;
    check(&store, &format!("{grant} write log log9"), "Role app updated\n").await;
    check(&store, &format!("{grant} read z --from-key"), "Role app updated\n").await;
    let shown = "Role app\nKV Read:\n\t[app/, app0) (prefix app/)\n\tconf\n\t[z, <open ended>\n\
                 KV Write:\n\t[app/, app0) (prefix app/)\n\t[log, log9)\n";
    check(&store, &format!("role get app {root}"), shown).await;
    check(&store, &format!("user add ann:pw {root}"), "User ann created\n").await;
    check(&store, &format!("user add cert --no-password {root}"), "User cert created\n").await;
    check(&store, &format!("user grant-role ann app {root}"), "Role app is granted to user ann\n").await;
    check(&store, &format!("user get ann {root}"), "User: ann\nRoles: app\n").await;
    for line in ["role get app", "role list", "user get ann", "user list"] {
        let (own, theirs) =
            (ask(&store, &format!("{line} {root}")).await, etcdctl(&store, &format!("{line} {root}")).await);
        if let Some(theirs) = theirs {
            assert_eq!(own, theirs.map_err(|()| String::new()), "{line}");
        }
    }
    // Of 3.6: before, an empty prefix was named, too.
    let everything = "Role root\nKV Read:\n\t[, <open ended>\nKV Write:\n\t[, <open ended>\n";
    check(&store, &format!("role get root {root}"), everything).await;
    let ann = "--user ann:pw";
    check(&store, &format!("kv put app/1 v {ann}"), "OK\n").await;
    refuse(&store, &format!("kv put conf v {ann}"), "etcdserver: permission denied").await;
    check(&store, &format!("kv get app/1 {ann}"), "app/1\nv\n").await;
    refuse(&store, &format!("kv diff --prefix --from 2 {ann}"), "etcdserver: permission denied").await;
    let image = scratch.path().join("image");
    refuse(&store, &format!("snapshot save {} {ann}", image.display()), "permission denied").await;
    ask(&store, &format!("snapshot save {} {root}", image.display())).await.unwrap();
    refuse(&store, &format!("member list {ann}"), "permission denied").await;
    assert!(ask(&store, &format!("endpoint health {ann}")).await.unwrap().contains("is healthy"));
    let revoked = "Permission of range [z, <open ended> is revoked from role app\n";
    check(&store, &format!("role revoke-permission app z --from-key {root}"), revoked).await;
    let revoked = "Permission of key conf is revoked from role app\n";
    check(&store, &format!("role revoke-permission app conf {root}"), revoked).await;
    let json = ask(&store, &format!("role get app -w json {root}")).await.unwrap();
    assert!(json.contains(r#""perm":[{"key":"YXBwLw==","permType":2,"range_end":"YXBwMA=="}"#), "{json}");
    check(&store, &format!("user revoke-role ann app {root}"), "Role app is revoked from user ann\n").await;
    check(&store, &format!("user delete ann {root}"), "User ann deleted\n").await;
    check(&store, &format!("role delete app {root}"), "Role app deleted\n").await;
    refuse(&store, &format!("user delete root {root}"), "etcdserver: invalid auth management").await;
    check(&store, &format!("auth disable {root}"), "Authentication Disabled\n").await;
    check(&store, "kv get a", "a\n1\n").await;
    refuse(&store, "role grant-permission app execute k", "possible values: read, write, readwrite").await;
    refuse(&store, "kv get a --password x", "--user").await;
}
