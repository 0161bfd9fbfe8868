//! The program as scripts see it: exit codes, standard input, what its environment says, completion.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use store::{Listeners, Options, Server};
use tokio::io::AsyncBufReadExt;

struct Member {
    _server: Server,
    _directory: tempfile::TempDir,
    url: String,
}

async fn start() -> Member {
    let directory = tempfile::tempdir().unwrap();
    let client = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", client.local_addr().unwrap());
    let options =
        Options { client_urls: vec![url.clone()], free_bytes_min: 0, ..Options::single(directory.path()) };
    let listeners = Listeners { peer: Vec::new(), client: vec![client] };
    let server = Server::start_on(options, listeners).await.unwrap();
    server.handle().raft().read_index().await.unwrap();
    Member { _server: server, _directory: directory, url }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kontiki-store"));
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

async fn output(mut program: Command, input: &'static str) -> Output {
    let run = move || {
        let mut child = program.spawn().unwrap();
        // Whoever fails at once does not read.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What is printed, what is complained about, and the exit code.
async fn run(url: &str, line: &str, input: &'static str) -> (String, String, i32) {
    let mut program = program();
    program.env("ETCDCTL_ENDPOINTS", url).args(line.split_whitespace());
    let output = output(program, input).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_told_what_happened() {
    let member = start().await;
    let url = &member.url;
    assert_eq!(run(url, "kv put a", "from a pipe").await, ("OK\n".to_owned(), String::new(), 0));
    assert_eq!(run(url, "kv get a", "").await.0, "a\nfrom a pipe\n");
    for (line, input, code, complaint) in [
        ("lease revoke 77", "", 1, "Error: etcdserver: requested lease not found\n"),
        ("kv get a --nonsense", "", 2, "unexpected argument"),
        ("txn", "nonsense", 3, "Error: malformed comparison: nonsense\n"),
        ("kv watch -i", "nonsense\n", 3, "error reading watch request line: EOF"),
        ("endpoint status -w protobuf", "", 4, "Error: protobuf is not supported"),
        ("kv get", "", 128, "Error: name a key"),
        ("lock l false", "", 1, "exit status: 1"),
    ] {
        let (_, said, exit) = run(url, line, input).await;
        assert!(exit == code && said.contains(complaint), "{line}: {exit}, {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_not_waited_for() {
    // The kernel takes the connection; nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = silent.local_addr().unwrap().to_string();
    let (_, said, exit) = run(&url, "kv get a --command-timeout 100ms", "").await;
    assert!(exit == 1 && said.starts_with("Error: context deadline exceeded"), "{exit}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_names_what_is_watched() {
    let member = start().await;
    run(&member.url, "kv put a 1", "").await;
    let mut watch = program();
    watch.env("ETCDCTL_ENDPOINTS", &member.url).env("ETCDCTL_WATCH_KEY", "a");
    // A command that fails ends the watch.
    watch.args([
        "kv",
        "watch",
        "--rev",
        "1",
        "--",
        "sh",
        "-c",
        "echo $ETCD_WATCH_KEY $ETCD_WATCH_VALUE; false",
    ]);
    let output = output(watch, "").await;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "PUT\na\n1\n\"a\" \"1\"\n");
    assert_eq!(output.status.code(), Some(1));
}

/// There it has a runtime of another kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_on_one_core_serves_watches_and_stops() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let core = allowed.trim().split([',', '-']).next().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (directory, client, peer) = (tempfile::tempdir().unwrap(), free(), free());
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let mut member = Command::new("taskset");
    member.args(["-c", core, env!("CARGO_BIN_EXE_kontiki-store"), "--name", "one"]);
    member.arg("--data-dir").arg(directory.path()).args(["--initial-cluster", &format!("one={peer}")]);
    for (flag, url) in [
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
    ] {
        member.args([flag, url]);
    }
    let member = tokio::process::Command::from(member)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut member = member.unwrap();
    let mut said = tokio::io::BufReader::new(member.stderr.take().unwrap()).lines();
    while !said.next_line().await.unwrap().expect("it ends before it serves").contains("serving") {}
    assert_eq!(run(&client, "kv put a 1", "").await, ("OK\n".to_owned(), String::new(), 0));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let client = client.clone();
        writers.spawn(async move { run(&client, &format!("kv put b/{number} x"), "").await.2 });
    }
    assert_eq!(writers.join_all().await, [0; 8]);
    let mut watch = program();
    watch.env("ETCDCTL_ENDPOINTS", &client);
    watch.args(["kv", "watch", "a", "--rev", "1", "--", "sh", "-c", "exit 7"]);
    assert_eq!(
        output(watch, "").await.status.code(),
        Some(1),
        "the watch saw the change, and its command failed"
    );
    let stop = Command::new("kill").arg(member.id().unwrap().to_string()).status().unwrap();
    assert!(stop.success());
    let ended = tokio::time::timeout(Duration::from_secs(10), member.wait()).await;
    assert_eq!(ended.expect("it does not stop").unwrap().code(), Some(0));
}

#[tokio::test]
async fn shells_complete_commands() {
    for (shell, part) in
        [("bash", "complete -F _kontiki__store"), ("zsh", "#compdef kontiki-store"), ("fish", "make-mirror")]
    {
        let (script, _, exit) = run("", &format!("completion {shell}"), "").await;
        assert_eq!(exit, 0, "{shell}");
        assert!(script.contains(part), "{shell}");
    }
}
