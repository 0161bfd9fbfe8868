//! The leader of three servers is killed in the middle of a rolling update.

use std::time::Instant;

use anyhow::ensure;
use harness::{Cluster, Need, missing, wait_for};

const HELLO: &str = include_str!("../../../examples/hello.yaml");

#[test]
fn a_killed_leader_stops_no_rollout_and_no_container() -> anyhow::Result<()> {
    if missing(&[Need::Root, Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 2)?;
    cluster.kubectl_with(&["apply", "-f", "-"], HELLO)?;
    cluster.kubectl(&["-n", "hello", "rollout", "status", "deployment/hello", "--timeout=120s"])?;
    cluster.kubectl_with(&["apply", "-f", "-"], WITNESS)?;
    wait_for("the witness runs", || {
        let pod = cluster.get(&["pod", "witness"])?;
        ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
        Ok(())
    })?;
    let container = cluster.get(&["pod", "witness"])?["status"]["containerStatuses"][0].clone();

    let leader = cluster.leader()?;
    let survivor = if leader == "server-1" { "kontiki-server-2" } else { "kontiki" };
    let at = |arguments: &[&str]| cluster.kubectl_at(survivor, arguments, None);
    at(&["create", "configmap", "acknowledged", "--from-literal=before=kill"])?;
    at(&["-n", "hello", "set", "image", "deployment/hello", "web=docker.io/library/kontiki-hello:2"])?;
    cluster.kill(&leader)?;
    let killed = Instant::now();
    wait_for("a survivor takes writes", || at(&["create", "configmap", "after", "--from-literal=a=b"]))?;
    eprintln!("writes went on {:?} after the kill", killed.elapsed());
    ensure!(at(&["get", "configmap", "acknowledged", "-o", "jsonpath={.data.before}"])? == "kill");
    at(&["-n", "hello", "rollout", "status", "deployment/hello", "--timeout=120s"])?;
    eprintln!("the rollout finished {:?} after the kill", killed.elapsed());
    let images = at(&["-n", "hello", "get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"])?;
    ensure!(images.split(' ').filter(|image| image.ends_with("kontiki-hello:2")).count() >= 3, "{images}");

    cluster.again()?;
    wait_for("the killed server is back", || {
        let status = cluster.status()?;
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        ensure!(servers.iter().all(|server| server["ready"] == true), "{status}");
        Ok(())
    })?;
    let back = if leader == "server-1" { "kontiki".to_owned() } else { format!("kontiki-{leader}") };
    ensure!(cluster.kubectl_at(&back, &["get", "configmap", "after", "-o", "name"], None)?.contains("after"));
    let now = cluster.get(&["pod", "witness"])?["status"]["containerStatuses"][0].clone();
    let same = now["containerID"] == container["containerID"] && now["restartCount"] == 0;
    ensure!(same, "{now}\n{}", last_words(&cluster));
    Ok(())
}

/// What the witness said before it ended, and now.
fn last_words(cluster: &Cluster) -> String {
    let said =
        [&["logs", "witness", "--previous"][..], &["logs", "witness"]].map(|words| cluster.kubectl(words));
    said.map(|said| said.unwrap_or_else(|error| format!("{error:#}"))).join("\n")
}

const WITNESS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: witness}
spec:
  containers:
  - {name: web, image: 'docker.io/library/kontiki-hello:1'}
";
