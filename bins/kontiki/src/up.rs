//! `kontiki up`

use std::{path::PathBuf, time::Instant};

use clap::Args;
use kontiki::{local, program};

/// Start a cluster on this machine, wait until it is ready, and leave it running.
///
/// Running it again on the same directory starts only what does not run, so it also brings back a server or an agent
/// that was killed. `kontiki down` ends the cluster.
#[derive(Args)]
pub struct Up {
    /// Directory of the cluster; everything it keeps is in here
    #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
    data_dir: PathBuf,
    /// Also write the kubeconfig to this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Number of servers; 3 survive the loss of one [default: 1]
    #[arg(long, value_name = "N")]
    servers: Option<u16>,
    /// Number of nodes; 0 starts only the control plane [default: 1]
    #[arg(long, value_name = "N")]
    agents: Option<u16>,
    /// Give even a single node a network namespace of its own (several always have one)
    #[arg(long)]
    isolated: bool,
    /// Image archive to import on every node; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

impl Up {
    pub fn run(self) -> anyhow::Result<()> {
        let (begin, quiet) = (Instant::now(), self.quiet);
        let say = move |step: &str| {
            if !quiet {
                println!("[{:6.2} s] {step}", begin.elapsed().as_secs_f64());
            }
        };
        let request = local::Request {
            data_dir: self.data_dir,
            kubeconfig: self.kubeconfig,
            servers: self.servers,
            agents: self.agents,
            isolated: self.isolated,
            images: self.images,
            program: std::env::current_exe()?,
        };
        let started = program::block_on(local::up(request, &say))??;
        if !quiet {
            println!("\nThe cluster is up. Next:\n");
            println!("  export KUBECONFIG={}", started.kubeconfig.display());
            println!("  kubectl get nodes");
            println!("  kubectl apply -f examples/hello.yaml");
        }
        Ok(())
    }
}
