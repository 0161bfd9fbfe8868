//! Command lines of etcdctl, and what they print: `etcdctl.txt`, and `auth.txt` for users and roles, played against our store,
//! and against etcd where it is installed, so that what is written there is etcd's word.
//!
//! A line that begins with `$` is a command; with `$N` one that is ended after so many lines, because it would go on for
//! ever. Lines that begin with `<` are its input. What it prints follows, its errors after `!`. `LEASE` stands for the
//! lease granted last, `FILE` for a scratch file, `ID` for an id and `ADDR` for an address, none of which repeat.
//!
//! `KONTIKI_RECORD=1` writes anew what etcd says.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etcd_tests::server::{Running, find, skipped};

/// Longest that one command may take.
const COMMAND_MAX: Duration = Duration::from_secs(20);

/// One command of the script.
struct Step {
    /// As it is written.
    line: String,
    input: String,
}

fn script(name: &str) -> (PathBuf, String) {
    // Read at run time: clones may share what is compiled.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = here.join("tests").join(name);
    let text = std::fs::read_to_string(&path).expect("the script is readable");
    (path, text)
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if line.starts_with('$') {
            steps.push(Step { line: line.to_owned(), input: String::new() });
        } else if let Some(input) = line.strip_prefix('<') {
            let step = steps.last_mut().expect("input belongs to a command");
            step.input += input.strip_prefix(' ').unwrap_or(input);
            step.input.push('\n');
        }
    }
    steps
}

/// Words, of which some stand in single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.trim().chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("there is a first word").push(other),
        }
    }
    words
}

struct Session {
    etcdctl: PathBuf,
    address: String,
    scratch: tempfile::TempDir,
    lease: String,
}

impl Session {
    /// Plays a command and returns what it printed, the same for every server.
    fn play(&mut self, step: &Step) -> String {
        let (stop_after, line) = step.line[1..].split_once(' ').expect("a command has a name");
        let file = self.scratch.path().join("file").display().to_string();
        let line = line.replace("LEASE", &self.lease).replace("FILE", &file);
        let mut child = Command::new(&self.etcdctl)
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.address])
            .args(words(&line))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl starts");
        child.stdin.take().expect("piped").write_all(step.input.as_bytes()).expect("etcdctl reads its input");
        let lines_max = stop_after.parse().unwrap_or(usize::MAX);
        let deadline = Deadline::new(child.id());
        let mut printed = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("piped")).lines().take(lines_max) {
            printed.push(line.expect("etcdctl prints text"));
        }
        if stop_after.is_empty() {
            let failed = BufReader::new(child.stderr.take().expect("piped")).lines();
            let failed = failed.map(|line| line.expect("etcdctl prints text"));
            // The client's log, with times and ids.
            let failed = failed.filter(|line| !line.starts_with("{\"level\""));
            printed.extend(failed.map(|line| format!("! {line}")));
        } else {
            child.kill().expect("it is still there");
        }
        child.wait().expect("it ends");
        deadline.end(&step.line);
        if let Some(granted) = printed.first().and_then(|line| line.strip_prefix("lease ")) {
            self.lease = granted.split(' ').next().unwrap_or_default().to_owned();
        }
        if line == "member list" {
            // In the order of ids, which are random.
            printed.sort_unstable_by_key(|line| line.split_once(", ").map(|(_, rest)| rest.to_owned()));
        }
        printed.iter().map(|line| masked(line, &file) + "\n").collect()
    }
}

/// Kills a command that does not end.
struct Deadline {
    begin: Instant,
    done: std::sync::mpsc::Sender<()>,
}

impl Deadline {
    fn new(process: u32) -> Self {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(COMMAND_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _gone = Command::new("kill").arg("-9").arg(process.to_string()).status();
            }
        });
        Self { begin: Instant::now(), done }
    }

    fn end(self, line: &str) {
        let _it_waits_no_more = self.done.send(());
        assert!(self.begin.elapsed() < COMMAND_MAX, "{line} did not end");
    }
}

/// What differs between any two runs.
fn masked(line: &str, file: &str) -> String {
    let line = line.replace(file, "FILE");
    for name in ["ETCD_INITIAL_CLUSTER=", "\"RaftTerm\" :"] {
        if line.starts_with(name) {
            return format!("{name} ...");
        }
    }
    let until = line.find("took = ").or_else(|| line.find("remaining("));
    let line = &line[..until.unwrap_or(line.len())];
    let mut masked = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':';
    let mut rest = line;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            let next = rest.chars().next().expect("not empty");
            masked.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        }
        // Some are filled up with spaces where others have digits.
        let is_id = word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
        while is_id && masked.ends_with("  ") {
            masked.pop();
        }
        masked += if is_id {
            "ID"
        } else if word.starts_with("127.0.0.1:") {
            "ADDR"
        } else {
            word
        };
        rest = &rest[word.len()..];
    }
    masked.trim_end().to_owned()
}

fn transcript(etcdctl: &Path, server: &Running, steps: &[Step]) -> String {
    let scratch = tempfile::tempdir().expect("a directory can be made");
    let mut session =
        Session { etcdctl: etcdctl.into(), address: server.address.clone(), scratch, lease: String::new() };
    let mut text = String::new();
    for step in steps {
        text += &format!("{}\n", step.line);
        text.extend(step.input.lines().map(|line| format!("< {line}\n")));
        text += &session.play(step);
        text.push('\n');
    }
    text
}

/// Every place where two transcripts differ.
fn check(name: &str, printed: &str, expected: &str) {
    let pairs = printed.split("\n$").zip(expected.split("\n$"));
    let differences = pairs.filter(|(printed, expected)| printed != expected);
    let differences: String = differences
        .map(|(printed, expected)| format!("{name} printed:\n{printed}\nexpected:\n{expected}\n"))
        .collect();
    assert!(differences.is_empty() && printed.len() == expected.len(), "{differences}");
}

/// Plays a script against both.
async fn compare(name: &str) {
    let Some(etcdctl) = find("etcdctl") else { return skipped("etcdctl") };
    let (path, text) = script(name);
    let steps = steps(&text);
    let play = async |server: Running| {
        let etcdctl = etcdctl.clone();
        let steps: Vec<Step> =
            steps.iter().map(|step| Step { line: step.line.clone(), input: step.input.clone() }).collect();
        let played = tokio::task::spawn_blocking(move || transcript(&etcdctl, &server, &steps));
        played.await.expect("every command ends")
    };
    if let Some(etcd) = Running::etcd().await.expect("etcd starts") {
        let printed = play(etcd).await;
        if std::env::var_os("KONTIKI_RECORD").is_some() {
            std::fs::write(&path, &printed).expect("the script can be written");
        }
        check("etcd", &printed, &script(name).1);
    } else {
        skipped("etcd");
    }
    check("ours", &play(Running::ours().await.expect("our store starts")).await, &script(name).1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_prints_what_it_prints_of_etcd() {
    compare("etcdctl.txt").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_roles_are_what_they_are_in_etcd() {
    compare("auth.txt").await;
}
