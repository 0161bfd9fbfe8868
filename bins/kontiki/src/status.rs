//! `kontiki status`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kontiki::{local, program};

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Show the servers and agents of a cluster that `up` started.
#[derive(Args)]
pub struct Status {
    /// Directory of the cluster
    #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
    data_dir: PathBuf,
    /// How to show it
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

impl Status {
    pub fn run(self) -> anyhow::Result<()> {
        let status = program::block_on(local::status(&self.data_dir))??;
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
            Output::Table => table(&status),
        }
        Ok(())
    }
}

fn table(status: &local::Status) {
    let pid = |pid: Option<u32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let state = |pid: Option<u32>, ready: bool| match (pid, ready) {
        (None, _) => "stopped",
        (Some(_), true) => "ready",
        (Some(_), false) => "not ready",
    };
    println!("{:<14}{:<10}{:<11}{:<8}URL", "SERVER", "PID", "STATE", "LEADER");
    for server in &status.servers {
        let leader = if server.leader { "yes" } else { "no" };
        let state = state(server.pid, server.ready);
        println!("{:<14}{:<10}{state:<11}{leader:<8}{}", server.name, pid(server.pid), server.urls.api);
    }
    println!("\n{:<14}{:<10}{:<11}ADDRESS", "AGENT", "PID", "STATE");
    for agent in &status.agents {
        println!(
            "{:<14}{:<10}{:<11}{}",
            agent.name,
            pid(agent.pid),
            state(agent.pid, agent.ready),
            agent.address
        );
    }
    println!("\nexport KUBECONFIG={}", status.kubeconfig.display());
}
