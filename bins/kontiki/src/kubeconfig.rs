//! `kontiki kubeconfig`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kontiki::{
    local::state::{Layout, write_private},
    pki::{self, Pki},
};

/// Print a kubeconfig for a user of a cluster, or write the certificates of a node.
///
/// Reads the cluster's keys, so it runs where a server runs.
#[derive(Args)]
pub struct Kubeconfig {
    /// Directory of a cluster that `up` started, or of a server
    #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
    data_dir: PathBuf,
    /// URL of the API server [default: those of the cluster that `up` started]
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
    /// User the kubeconfig stands for
    #[arg(long, default_value = "kubernetes-admin")]
    user: String,
    /// Group of the user; may be repeated [default: system:masters for kubernetes-admin]
    #[arg(long = "group")]
    groups: Vec<String>,
    /// Write the certificates of this node instead
    #[arg(long, requires_all = ["address", "out"])]
    node: Option<String>,
    /// Address of that node
    #[arg(long)]
    address: Option<std::net::IpAddr>,
    /// Directory for the certificates of the node
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Kubeconfig {
    pub fn run(self) -> anyhow::Result<()> {
        let layout = Layout::new(&self.data_dir);
        anyhow::ensure!(
            layout.pki().join("ca.crt").exists(),
            "{} holds no keys of a cluster: start one with `kontiki up`, or name a server's directory",
            self.data_dir.display()
        );
        let pki = Pki::open(&layout.pki())?;
        if let (Some(node), Some(address), Some(out)) = (&self.node, self.address, &self.out) {
            return write_node(&pki, node, address, out);
        }
        let servers = if self.servers.is_empty() {
            let cluster = layout.read().context("--server says where the API server is")?;
            cluster.servers.iter().map(|server| server.api_url()).collect()
        } else {
            self.servers
        };
        let groups = match (self.user.as_str(), self.groups.is_empty()) {
            ("kubernetes-admin", true) => vec!["system:masters".to_owned()],
            _ => self.groups,
        };
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let client = pki.client(&self.user, &groups)?;
        let name = |n: usize| if n == 0 { "kontiki".to_owned() } else { format!("kontiki-{}", n + 1) };
        let named: Vec<_> = servers.into_iter().enumerate().map(|(n, url)| (name(n), url)).collect();
        print!("{}", pki::kubeconfig(pki.ca(), &client, &named));
        Ok(())
    }
}

fn write_node(pki: &Pki, node: &str, address: std::net::IpAddr, out: &std::path::Path) -> anyhow::Result<()> {
    let client = pki.client(&format!("system:node:{node}"), &["system:nodes"])?;
    let server = pki.node_server(node, address)?;
    let files = [
        ("ca.crt", pki.ca()),
        ("client.crt", client.certificate.as_str()),
        ("client.key", client.key.as_str()),
        ("server.crt", server.certificate.as_str()),
        ("server.key", server.key.as_str()),
    ];
    for (name, text) in files {
        write_private(&out.join(name), text.as_bytes())?;
    }
    println!("wrote the certificates of node {node} to {}", out.display());
    Ok(())
}
