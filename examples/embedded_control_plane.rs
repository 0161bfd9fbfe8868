//! Embeds a whole control plane without nodes, creates a Deployment with the `kube` crate, and sees the ReplicaSet and
//! the Pods appear.
//!
//! No second process, no global state, ready in well under a second. Run it with
//! `cargo run --release -p kontiki --example embedded_control_plane`.

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let begin = Instant::now();
    let server = kontiki::ControlPlane::start(kontiki::Options::in_dir(dir.path())).await?;
    server.ready().await?;
    println!("ready after {:?} at {}", begin.elapsed(), server.url());

    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig()?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;

    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment()?).await?;

    let replicasets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    let selected = ListParams::default().labels("app=hello");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = (replicasets.list(&selected).await?.items.len(), pods.list(&selected).await?.items.len());
        if found == (1, 3) {
            println!("one ReplicaSet and three Pods after {:?}", begin.elapsed());
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "gave up: {} ReplicaSets, {} Pods", found.0, found.1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await?;
    Ok(())
}

fn deployment() -> serde_json::Result<Deployment> {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hello"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "hello"}},
            "template": {
                "metadata": {"labels": {"app": "hello"}},
                "spec": {"containers": [{"name": "web", "image": "kontiki-hello:1"}]},
            },
        },
    }))
}
