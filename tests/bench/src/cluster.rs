//! A local cluster that is measured: `kontiki up`, `status` and `down` on a directory of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use tokio::process::Child;

use crate::{
    limits::{CLUSTER_MAX, READY_POLL},
    process,
    wire::{Connection, Target, Tls},
};

/// A cluster; it is taken down and deleted when dropped.
pub struct Cluster {
    kontiki: PathBuf,
    pinned: bool,
    dir: tempfile::TempDir,
}

/// One server of it.
#[derive(Clone)]
pub struct Server {
    /// As `kontiki status` names it.
    pub name: String,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// Whether it leads the store.
    pub leader: bool,
    /// Its Kubernetes API.
    pub api: Target,
    /// Its etcd API.
    pub etcd: Target,
}

/// What runs, by `kontiki status`.
pub struct Status {
    /// The servers.
    pub servers: Vec<Server>,
    /// Name and process of each agent that runs.
    pub agents: Vec<(String, u32)>,
}

impl Cluster {
    /// An empty directory; nothing runs yet.
    pub fn new(kontiki: &Path, pinned: bool) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kontiki-bench-").tempdir()?;
        Ok(Self { kontiki: kontiki.to_owned(), pinned, dir })
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts `kontiki up` and does not wait for it.
    pub fn spawn_up(&self, more: &[&str]) -> anyhow::Result<Child> {
        let mut command = process::command(&self.kontiki, self.pinned);
        command.args(["up", "--quiet", "--data-dir"]).arg(self.data_dir()).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).spawn().context("running kontiki up")
    }

    /// Starts what does not run, and waits until it is ready.
    pub async fn up(&self, more: &[&str]) -> anyhow::Result<()> {
        finish(self.spawn_up(more)?).await
    }

    /// Assembles the image that the pods of the programs run.
    pub fn build_hello(&self) -> anyhow::Result<PathBuf> {
        let file = self.dir.path().join("hello.tar");
        let mut command = Command::new(&self.kontiki);
        command.args(["image", "build-hello", "--name", HELLO, "--version", "1"]).arg(&file);
        said("kontiki image build-hello", &command.stdin(Stdio::null()).output()?)?;
        Ok(file)
    }

    /// Waits until the cluster has keys, and says where its first server will be.
    pub async fn first_server(&self) -> anyhow::Result<Target> {
        let deadline = Instant::now() + CLUSTER_MAX;
        loop {
            match self.access().and_then(|(config, tls)| {
                let url = config["clusters"][0]["cluster"]["server"].as_str().context("no server")?;
                Ok(Target { address: address(url)?, tls: Some(tls) })
            }) {
                Ok(target) => return Ok(target),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(READY_POLL).await,
            }
        }
    }

    /// What runs.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let mut command = tokio::process::Command::new(&self.kontiki);
        command.args(["status", "-o", "json", "--data-dir"]).arg(self.data_dir()).kill_on_drop(true);
        let output = tokio::time::timeout(CLUSTER_MAX, command.stdin(Stdio::null()).output()).await??;
        let status: Value = serde_json::from_str(&said("kontiki status", &output)?)?;
        let plan = std::fs::read(self.data_dir().join("cluster.json")).context("reading cluster.json")?;
        let plan: Value = serde_json::from_slice(&plan)?;
        let ((_, tls), store) = (self.access()?, self.store_access()?);
        let servers = list(&status["servers"]).iter().zip(list(&plan["servers"]));
        let servers =
            servers.map(|(status, plan)| server(status, plan, &tls, &store)).collect::<Result<_, _>>()?;
        let agents = list(&status["agents"]).iter();
        let agents =
            agents.filter_map(|agent| Some((agent["name"].as_str()?.to_owned(), pid(agent)?))).collect();
        Ok(Status { servers, agents })
    }

    /// Proof for the store, which believes an authority of its own.
    fn store_access(&self) -> anyhow::Result<Tls> {
        let pki = kontiki::pki::Pki::open(&self.data_dir().join("pki"))?;
        let client = pki.store_client("kontiki-bench")?;
        Tls::new(pki.store_ca().as_bytes(), client.certificate.as_bytes(), client.key.as_bytes())
    }

    /// The kubeconfig, and the proof that is in it.
    fn access(&self) -> anyhow::Result<(Value, Tls)> {
        let path = self.data_dir().join("kubeconfig");
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let config: Value = serde_json::from_slice(&text).context("reading the kubeconfig as JSON")?;
        let decode =
            |value: &Value| anyhow::Ok(BASE64_STANDARD.decode(value.as_str().context("a key is missing")?)?);
        let (user, cluster) = (&config["users"][0]["user"], &config["clusters"][0]["cluster"]);
        let tls = Tls::new(
            &decode(&cluster["certificate-authority-data"])?,
            &decode(&user["client-certificate-data"])?,
            &decode(&user["client-key-data"])?,
        )?;
        Ok((config, tls))
    }
}

/// Image of the pods.
pub const HELLO: &str = "docker.io/library/kontiki-hello:1";

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.data_dir().join("cluster.json").exists() {
            return;
        }
        let mut command = Command::new(&self.kontiki);
        command.args(["down", "--quiet", "--delete-data", "--data-dir"]).arg(self.data_dir());
        let ended = command.stdin(Stdio::null()).output().context("running kontiki down");
        if let Err(error) = ended.and_then(|output| said("kontiki down", &output)) {
            eprintln!("taking the cluster down: {error:#}");
        }
    }
}

/// Waits for `kontiki up`.
pub async fn finish(child: Child) -> anyhow::Result<()> {
    let output = tokio::time::timeout(CLUSTER_MAX, child.wait_with_output()).await;
    said("kontiki up", &output.context("kontiki up does not end")??).map(drop)
}

/// Waits until the service account that pods of the default namespace run as exists.
pub async fn wait_for_default_account(connection: &Connection) -> anyhow::Result<()> {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let mut watch = crate::watch::Watch::open(connection, accounts).await?;
    watch.find(|change| (change.name() == "default").then_some(())).await
}

fn said(what: &str, output: &Output) -> anyhow::Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{what}: {}{}", text(&output.stderr), text(&output.stdout));
    }
    Ok(text(&output.stdout))
}

fn server(status: &Value, plan: &Value, tls: &Tls, store: &Tls) -> anyhow::Result<Server> {
    let url = status["urls"]["api"].as_str().context("a server has a URL")?;
    let etcd = plan["etcdPort"].as_u64().and_then(|port| u16::try_from(port).ok()).context("an etcd port")?;
    Ok(Server {
        name: status["name"].as_str().unwrap_or_default().to_owned(),
        pid: pid(status),
        leader: status["leader"] == true,
        api: Target { address: address(url)?, tls: Some(tls.clone()) },
        etcd: Target { address: ([127, 0, 0, 1], etcd).into(), tls: Some(store.clone()) },
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn pid(process: &Value) -> Option<u32> {
    process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.strip_prefix("https://").unwrap_or(url);
    address.parse().with_context(|| format!("{url} is no address"))
}
