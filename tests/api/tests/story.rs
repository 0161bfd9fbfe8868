//! One real workload, from `kubectl apply` to nothing left, with unmodified kubectl and real containers.

use anyhow::{Context, ensure};
use harness::{Cluster, Need, missing, wait_for};
use serde_json::Value;

const HELLO: &str = include_str!("../../../examples/hello.yaml");

fn ready_pods(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let pods = cluster.get(&["-n", "hello", "pods", "-l", "app=hello"])?;
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    let ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    Ok(items.into_iter().filter(ready).collect())
}

fn wait_for_ready(cluster: &Cluster, count: usize) -> anyhow::Result<Vec<Value>> {
    wait_for(&format!("{count} pods are ready"), || {
        let pods = ready_pods(cluster)?;
        ensure!(
            pods.len() == count,
            "{} are:\n{}",
            pods.len(),
            cluster.kubectl(&["-n", "hello", "get", "pods,events"])?
        );
        Ok(pods)
    })
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

#[test]
fn a_workload_lives_its_life() -> anyhow::Result<()> {
    if missing(&[Need::Root, Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(1, 1)?;
    cluster.kubectl_with(&["apply", "-f", "-"], HELLO)?;
    let pods = wait_for_ready(&cluster, 3)?;
    let first = name(&pods[0]).to_owned();
    let exec = |command: &str| cluster.kubectl(&["-n", "hello", "exec", &first, "--", "sh", "-c", command]);

    // The ConfigMap is a file; the limits are the cgroup's; the API is one exec away.
    ensure!(exec("cat /etc/hello/greeting.txt")?.contains("Hello from a ConfigMap."));

    // By cluster IP and by name from another pod, by node port on the node.
    let service = cluster.get(&["-n", "hello", "service", "hello"])?;
    let address = service["spec"]["clusterIP"].as_str().context("the service has no address")?.to_owned();
    for host in [address.as_str(), "hello", "hello.hello.svc.cluster.local"] {
        wait_for(&format!("{host} answers"), || {
            let page = exec(&format!("wget -qO- http://{host}/"))?;
            ensure!(page.contains("Hello from Kontiki") && page.contains("version: 1"), "{page}");
            Ok(())
        })?;
    }
    let node = cluster.get(&["nodes"])?["items"][0]["status"]["addresses"][0]["address"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    ensure!(exec(&format!("wget -qO- http://{node}:30080/"))?.contains("Hello from Kontiki"), "node port");

    // What people look at.
    ensure!(cluster.kubectl(&["-n", "hello", "logs", &first])?.contains("listening on port 8080"), "logs");
    let table = cluster.kubectl(&["-n", "hello", "get", "pods", "-o", "wide"])?;
    ensure!(table.starts_with("NAME ") && table.contains("1/1 ") && table.contains("Running"), "{table}");
    let described = cluster.kubectl(&["-n", "hello", "describe", "pod", &first])?;
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        ensure!(described.contains(reason), "no event {reason}:\n{described}");
    }

    // A rolling update, and back.
    cluster.kubectl(&[
        "-n",
        "hello",
        "set",
        "image",
        "deployment/hello",
        "web=docker.io/library/kontiki-hello:2",
    ])?;
    cluster.kubectl(&["-n", "hello", "rollout", "status", "deployment/hello", "--timeout=120s"])?;
    wait_for_ready(&cluster, 3)?;
    let pods = ready_pods(&cluster)?;
    ensure!(
        pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "docker.io/library/kontiki-hello:2")
    );
    cluster.kubectl(&["-n", "hello", "rollout", "undo", "deployment/hello"])?;
    cluster.kubectl(&["-n", "hello", "rollout", "status", "deployment/hello", "--timeout=120s"])?;

    // Up, down, and a deleted pod is replaced.
    cluster.kubectl(&["-n", "hello", "scale", "deployment/hello", "--replicas=4"])?;
    wait_for_ready(&cluster, 4)?;
    cluster.kubectl(&["-n", "hello", "scale", "deployment/hello", "--replicas=2"])?;
    let pods = wait_for_ready(&cluster, 2)?;
    let gone = name(&pods[0]).to_owned();
    cluster.kubectl(&["-n", "hello", "delete", "pod", &gone])?;
    let pods = wait_for_ready(&cluster, 2)?;
    ensure!(pods.iter().all(|pod| name(pod) != gone), "{gone} is still there");

    // A container whose process ends is started again.
    let victim = name(&pods[0]).to_owned();
    let _ = cluster.kubectl(&["-n", "hello", "exec", &victim, "--", "sh", "-c", "kill 1"]);
    wait_for("the container was restarted", || {
        let pod = cluster.get(&["-n", "hello", "pod", &victim])?;
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(status["restartCount"] == 1 && status["ready"] == true, "{status}");
        Ok(())
    })?;

    // An agent that dies takes no container along.
    let before =
        cluster.get(&["-n", "hello", "pod", &victim])?["status"]["containerStatuses"][0]["containerID"]
            .clone();
    let agent = cluster.status()?["agents"][0]["name"].as_str().unwrap_or_default().to_owned();
    cluster.kill(&agent)?;
    cluster.again()?;
    wait_for("the pods are taken over", || {
        let pod = cluster.get(&["-n", "hello", "pod", &victim])?;
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(
            status["containerID"] == before && status["restartCount"] == 1 && status["ready"] == true,
            "{status}"
        );
        Ok(())
    })?;
    ensure!(cluster.kubectl(&["-n", "hello", "exec", &victim, "--", "hostname"])?.trim() == victim);

    // Nothing is left.
    cluster.kubectl(&["delete", "namespace", "hello", "--timeout=120s"])?;
    ensure!(cluster.get(&["pods", "-A", "-l", "app=hello"])?["items"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}
