//! `kontiki server`

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;
use kontiki::{ControlPlane, Options, Peer, program};

/// Run one server in the foreground: store, API server, scheduler and controllers.
///
/// Without --peer it is a cluster of its own. For three servers, give each the same three --peer flags, and the same
/// keys: copy the directory `pki` of the first to the others before they start.
#[derive(Args)]
pub struct Server {
    /// Read all options from this JSON file; other flags change what it says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of this server
    #[arg(long)]
    name: Option<String>,
    /// Where this server keeps its state
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the keys are that all servers share [default: DATA_DIR/pki]
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Where the Kubernetes API is served [default: 0.0.0.0:6443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address by which nodes, pods and other servers reach this one
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<IpAddr>,
    /// A founding server, this one included; repeated for each
    #[arg(long = "peer", value_name = "NAME=URL", value_parser = parse_peer)]
    peers: Vec<Peer>,
    /// Where the other servers are listened to
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_peer: Option<SocketAddr>,
    /// Where the etcd API is served to clients with a certificate of the store's authority
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_etcd: Option<SocketAddr>,
}

fn parse_peer(text: &str) -> Result<Peer, String> {
    let (name, url) =
        text.split_once('=').ok_or("expected NAME=URL, such as server-1=https://10.0.0.1:2380")?;
    Ok(Peer { name: name.to_owned(), url: url.to_owned() })
}

impl Server {
    pub fn run(self) -> anyhow::Result<()> {
        program::start_log();
        let options = self.options()?;
        program::block_on(async move {
            let stop = program::until_asked_to_stop()?;
            let server = ControlPlane::start(options).await.context("the server cannot start")?;
            Ok(server.run(stop).await?)
        })?
    }

    fn options(self) -> anyhow::Result<Options> {
        let mut options: Options = match &self.config {
            Some(path) => program::read_config(path)?,
            None => Options { listen: SocketAddr::from(([0, 0, 0, 0], 6443)), ..Options::default() },
        };
        options.name = self.name.unwrap_or(options.name);
        options.data_dir = self.data_dir.unwrap_or(options.data_dir);
        options.pki_dir = self.pki_dir.or(options.pki_dir);
        options.listen = self.listen.unwrap_or(options.listen);
        options.advertise = self.advertise.unwrap_or(options.advertise);
        options.listen_peer = self.listen_peer.or(options.listen_peer);
        options.listen_etcd = self.listen_etcd.or(options.listen_etcd);
        if !self.peers.is_empty() {
            options.peers = self.peers;
        }
        anyhow::ensure!(
            !options.data_dir.as_os_str().is_empty(),
            "--data-dir says where the server keeps its state"
        );
        Ok(options)
    }
}
