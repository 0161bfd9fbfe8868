//! Starts real clusters of real processes in tests, talks to them with kubectl, and takes them down again.
//!
//! A test that needs what the machine lacks (root, kubectl) is skipped with a line that says so; see [`missing`].
//! Waiting is always for a condition, with a deadline.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Longest that anything in a test may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What a test needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Namespaces and containers.
    Root,
    /// The program.
    Kubectl,
}

/// Says which of the needs the machine lacks, on standard error, so that the test can return.
pub fn missing(needs: &[Need]) -> bool {
    let lacks = |need: &Need| match need {
        Need::Root => {
            !std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
        }
        Need::Kubectl => Command::new("kubectl").arg("version").arg("--client").output().is_err(),
    };
    let missing: Vec<_> = needs.iter().filter(|need| lacks(need)).collect();
    if !missing.is_empty() {
        eprintln!("skipped: the machine lacks {missing:?}");
    }
    !missing.is_empty()
}

/// The `kontiki` program, beside the test in the target directory.
pub fn kontiki() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let program = test.parent().and_then(Path::parent).map(|dir| dir.join("kontiki")).unwrap_or_default();
    ensure!(
        program.exists(),
        "{} is missing: build it first with `cargo build --release -p kontiki-cli`",
        program.display()
    );
    Ok(program)
}

/// A cluster that runs until it is dropped.
pub struct Cluster {
    dir: tempfile::TempDir,
    images: Vec<PathBuf>,
}

impl Cluster {
    /// Starts a cluster whose nodes, if any, are isolated from the machine.
    pub fn up(servers: u16, agents: u16) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kontiki-test-").tempdir()?;
        let mut cluster = Self { dir, images: Vec::new() };
        if agents > 0 {
            for version in ["1", "2"] {
                let file = cluster.dir.path().join(format!("hello-{version}.tar"));
                let name = format!("docker.io/library/kontiki-hello:{version}");
                let path = file.display().to_string();
                run(&["image", "build-hello", "--name", &name, "--version", version, &path])?;
                cluster.images.push(file);
            }
        }
        cluster.start(&["--servers", &servers.to_string(), "--agents", &agents.to_string(), "--isolated"])?;
        Ok(cluster)
    }

    /// Starts what does not run.
    pub fn again(&self) -> anyhow::Result<()> {
        self.start(&[])
    }

    fn start(&self, more: &[&str]) -> anyhow::Result<()> {
        let data = self.data_dir();
        let mut arguments = vec!["up".to_owned(), "--data-dir".into(), data.display().to_string()];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
            .extend(self.images.iter().flat_map(|image| ["--image".to_owned(), image.display().to_string()]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments).map(drop)
    }

    /// The cluster's directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What `kontiki status -o json` says.
    pub fn status(&self) -> anyhow::Result<Value> {
        let data = self.data_dir().display().to_string();
        Ok(serde_json::from_str(&run(&["status", "--data-dir", &data, "-o", "json"])?)?)
    }

    /// Runs kubectl against the first server; the output, or an error with what it complained about.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_at("kontiki", arguments, None)
    }

    /// Runs kubectl with this text as its input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.kubectl_at("kontiki", arguments, Some(input))
    }

    /// Runs kubectl against one server, by the name of its context.
    pub fn kubectl_at(
        &self,
        context: &str,
        arguments: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<String> {
        let mut child = Command::new("kubectl")
            .env("KUBECONFIG", self.data_dir().join("kubeconfig"))
            .env("HOME", self.dir.path())
            .args(["--context", context, "--request-timeout=60s"])
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("running kubectl")?;
        if let Some(input) = input {
            use std::io::Write as _;
            child.stdin.take().context("kubectl has no input")?.write_all(input.as_bytes())?;
        }
        said(&format!("kubectl {}", arguments.join(" ")), &child.wait_with_output()?)
    }

    /// Reads an object, or a list, as JSON.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Kills a process of the cluster at once, by its name in `kontiki status`.
    pub fn kill(&self, name: &str) -> anyhow::Result<()> {
        let status = self.status()?;
        let both =
            ["servers", "agents"].iter().flat_map(|kind| status[kind].as_array().into_iter().flatten());
        let mut found = both.filter(|process| process["name"] == name);
        let pid = found.next().and_then(|process| process["pid"].as_u64());
        let pid = pid.with_context(|| format!("{name} does not run: {status}"))?;
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
        ensure!(killed.success(), "cannot kill {name} (pid {pid})");
        Ok(())
    }

    /// Name of the server that leads the store.
    pub fn leader(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        let mut servers = status["servers"].as_array().into_iter().flatten();
        let leader =
            servers.find(|server| server["leader"] == true).and_then(|server| server["name"].as_str());
        leader.map(str::to_owned).with_context(|| format!("nobody leads: {status}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("KONTIKI_TEST_LOGS").is_some() {
            self.show_logs();
        }
        let data = self.data_dir().display().to_string();
        let exists = self.data_dir().join("cluster.json").exists();
        if exists && let Err(error) = run(&["down", "--data-dir", &data]) {
            eprintln!("taking the cluster down: {error:#}");
        }
    }
}

impl Cluster {
    fn show_logs(&self) {
        for kind in ["servers", "agents"] {
            let entries = std::fs::read_dir(self.data_dir().join(kind));
            for entry in entries.into_iter().flatten().flatten() {
                let log = std::fs::read(entry.path().join("log")).unwrap_or_default();
                let text = String::from_utf8_lossy(&log);
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- {}", entry.path().display());
                eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(kontiki()?).args(arguments).stdin(Stdio::null()).output()?;
    said(&format!("kontiki {}", arguments.join(" ")), &output)
}

fn said(what: &str, output: &Output) -> anyhow::Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{what}: {}{}", text(&output.stderr), text(&output.stdout));
    }
    Ok(text(&output.stdout))
}

/// Waits until `check` gives a value; the error of its last try if it never does.
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("gave up after {PATIENCE:?} waiting until {what}")));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
