//! kubectl itself, when there is one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use std::process::Stdio;

use harness::Cluster;
use kontiki_apiserver::pki;
use tokio::io::AsyncWriteExt;

struct Kubectl {
    directory: tempfile::TempDir,
}

impl Kubectl {
    /// `None` when kubectl is not installed.
    fn new(cluster: &Cluster) -> Option<Self> {
        let installed = std::process::Command::new("kubectl").arg("version").arg("--client").output();
        if !installed.is_ok_and(|output| output.status.success()) {
            eprintln!("kubectl is not installed: nothing is tested");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let admin = cluster.authority.issue_client("admin", &["system:masters"]).unwrap();
        let url = format!("https://{}", cluster.address);
        let config = pki::kubeconfig("test", &url, cluster.authority.certificate(), &admin);
        std::fs::write(directory.path().join("config"), config).unwrap();
        Some(Self { directory })
    }

    /// Runs one command line and answers what it printed; panics when it fails.
    async fn run(&self, line: &str, input: &str) -> String {
        let mut child = tokio::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.directory.path().join("config"))
            .arg("--cache-dir")
            .arg(self.directory.path().join("cache"))
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(harness::DEADLINE, child.wait_with_output())
            .await
            .expect("in time")
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {line}\n{out}{err}");
        out.into_owned()
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'web:1'}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_discovers_applies_reads_and_explains() {
    let cluster = Cluster::start().await;
    let Some(kubectl) = Kubectl::new(&cluster) else { return };
    let resources = kubectl.run("api-resources --sort-by=name", "").await;
    let deployments = resources.lines().find(|l| l.starts_with("deployments")).expect("listed");
    assert_eq!(
        deployments.split_whitespace().collect::<Vec<_>>(),
        ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    );

    assert_eq!(kubectl.run("apply -f -", DEPLOYMENT).await, "deployment.apps/web created\n");
    assert_eq!(kubectl.run("apply -f -", DEPLOYMENT).await, "deployment.apps/web unchanged\n");
    assert_eq!(
        kubectl.run("apply -f -", &DEPLOYMENT.replace("web:1", "web:2")).await,
        "deployment.apps/web configured\n"
    );
    let table = kubectl.run("get deploy web -o wide", "").await;
    let words: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        words[0],
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    );
    assert_eq!((words[1][0], words[1][1], words[1][6]), ("web", "0/2", "web:2"));
    assert_eq!(kubectl.run("scale deploy web --replicas=5", "").await, "deployment.apps/web scaled\n");
    assert_eq!(kubectl.run("get deploy web -o jsonpath={.spec.replicas}", "").await, "5");

    let explained = kubectl.run("explain deployment.spec.replicas", "").await;
    assert!(explained.contains("FIELD: replicas <integer>"), "{explained}");
    assert_eq!(kubectl.run("auth can-i delete nodes", "").await, "yes\n");
    assert!(kubectl.run("auth whoami", "").await.contains("system:masters"));
    assert_eq!(kubectl.run("create serviceaccount bot", "").await, "serviceaccount/bot created\n");
    assert_eq!(kubectl.run("create token bot", "").await.matches('.').count(), 2);
    assert_eq!(kubectl.run("delete deploy web --wait=false", "").await, "deployment.apps \"web\" deleted\n");
}
