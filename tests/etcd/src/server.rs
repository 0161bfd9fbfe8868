//! Our store and etcd, each with one member and a directory that goes with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use proto::etcd::etcdserverpb::{RangeRequest, kv_client::KvClient};
use store::{Listeners, Options, Server};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Longest that a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);
/// Time between two questions whether it does.
const POLL: Duration = Duration::from_millis(20);

/// Of a guess at a password: the least, for there are many logins.
const COST: u8 = 4;

/// The other side of a connection: running as long as it is kept.
pub struct Running {
    /// Where it serves clients, as etcdctl wants it: host and port.
    pub address: String,
    _kept: Kept,
}

enum Kept {
    Ours { _server: Box<Server>, _directory: TempDir },
    Etcd { _process: Process },
}

struct Process {
    child: Child,
    _directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// On memory where there is some: neither side is to wait for the disk.
fn directory() -> anyhow::Result<TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("kontiki-etcd-").tempdir_in(parent)?)
}

impl Running {
    /// Our store, in this process, behind a socket.
    pub async fn ours() -> anyhow::Result<Self> {
        let directory = directory()?;
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?.to_string();
        let options = Options {
            client_urls: vec![format!("http://{address}")],
            free_bytes_min: 0,
            // etcd's default; ours is higher.
            txn_ops_max: 128,
            bcrypt_cost: COST,
            ..Options::single(directory.path())
        };
        let server = Server::start_on(options, Listeners { peer: Vec::new(), client: vec![socket] }).await?;
        let running =
            Self { address, _kept: Kept::Ours { _server: Box::new(server), _directory: directory } };
        running.ready().await?;
        Ok(running)
    }

    /// etcd, when it is installed.
    pub async fn etcd() -> anyhow::Result<Option<Self>> {
        let Some(program) = find("etcd") else { return Ok(None) };
        let directory = directory()?;
        let (client, peer) = (free_url()?, free_url()?);
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .args(["--bcrypt-cost", &COST.to_string()])
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting etcd")?;
        let address = client.trim_start_matches("http://").to_owned();
        let running =
            Self { address, _kept: Kept::Etcd { _process: Process { child, _directory: directory } } };
        running.ready().await?;
        Ok(Some(running))
    }

    /// A connection of its own.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?.connect().await?)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let answered = async {
                let read = RangeRequest { key: "a".into(), ..Default::default() };
                KvClient::new(self.connect().await?).range(read).await?;
                anyhow::Ok(())
            };
            match answered.await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    ensure!(begin.elapsed() < START_MAX, "{} does not answer: {error}", self.address)
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A port that was free a moment ago: etcd cannot be handed a socket.
fn free_url() -> anyhow::Result<String> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    Ok(format!("http://{}", socket.local_addr()?))
}

/// A program on the path, or in the folder of the variable `KONTIKI_PEERS`, where `make test` unpacks what is not to be
/// installed because its package would start a service.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let peers = std::env::var_os("KONTIKI_PEERS").map(PathBuf::from);
    std::env::split_paths(&path).chain(peers).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Says what a test leaves out for want of a program.
pub fn skipped(program: &str) {
    eprintln!("skipped: {program} is not installed");
}
