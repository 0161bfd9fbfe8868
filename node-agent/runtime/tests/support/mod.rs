//! A runtime in a process and a network namespace of its own, and clients for it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use kontiki_runtime::image::build::{Recipe, build};
use proto::cri::image_service_client::ImageServiceClient;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::*;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take here, on a machine that others use.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Name of the image of every test.
pub const IMAGE: &str = "docker.io/library/kontiki-hello:1";

/// A runtime, and the namespace that this thread and all its children are in.
pub struct Node {
    pub directory: tempfile::TempDir,
    pub name: String,
    process: Option<Child>,
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
}

/// Runs a test on a fresh node, or says why it cannot.
pub fn on_a_node<F: AsyncFnOnce(&mut Node)>(name: &str, test: F) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: containers need root");
        return;
    }
    if !Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: the image is made from /bin/busybox (package busybox-static)");
        return;
    }
    // This thread only, and the processes it starts: a network of the test's own.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(run("ip", &["link", "set", "lo", "up"]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut node = Node::start(name).await;
        test(&mut node).await;
        node.check_nothing_is_left().await;
    });
}

pub fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().unwrap().success()
}

async fn channel(socket: &Path) -> Option<Channel> {
    let socket = socket.to_path_buf();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.ok()
}

impl Node {
    async fn start(name: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("kr").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("images")).unwrap();
        let recipe = Recipe::hello(IMAGE, "1", Path::new("/bin/busybox"));
        build(&recipe, &directory.path().join("images/hello-1.tar")).unwrap();
        let name = format!("{name}{}", std::process::id());
        let (process, channel) = serve(directory.path(), &name).await;
        let runtime = RuntimeServiceClient::new(channel.clone());
        Self { directory, name, process: Some(process), runtime, images: ImageServiceClient::new(channel) }
    }

    /// Kills the runtime as the kernel would, and starts another one on the same state.
    pub async fn kill_and_restart(&mut self) {
        let mut old = self.process.take().unwrap();
        old.kill().unwrap();
        old.wait().unwrap();
        let (process, channel) = serve(self.directory.path(), &self.name).await;
        self.process = Some(process);
        self.runtime = RuntimeServiceClient::new(channel.clone());
        self.images = ImageServiceClient::new(channel);
    }

    /// Ends the runtime and removes everything it made, as when a node is taken away.
    pub fn purge(&mut self) {
        let process = self.process.as_mut().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let directory = self.directory.path().to_str().unwrap();
        assert!(run(env!("CARGO_BIN_EXE_kontiki-cri"), &["purge", directory, &self.name]));
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub fn cgroup(&self) -> String {
        format!("/kontiki-{}", self.name)
    }

    /// A sandbox configuration for this node.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                uid: format!("uid-{name}"),
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.path("logs").join(name).display().to_string(),
            dns_config: Some(DnsConfig { servers: vec!["10.96.0.10".into()], ..DnsConfig::default() }),
            labels: [("app".to_string(), name.to_string())].into(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/kubepods/{name}", self.cgroup()),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: NamespaceMode::Container.into(),
                        ..NamespaceOption::default()
                    }),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        }
    }

    pub async fn run_pod(&mut self, config: &PodSandboxConfig) -> String {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        self.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
    }

    pub async fn try_create(
        &mut self,
        pod: &str,
        sandbox: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String, tonic::Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.into(),
            config: Some(config),
            sandbox_config: Some(sandbox.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub async fn create(&mut self, pod: &str, sandbox: &PodSandboxConfig, config: ContainerConfig) -> String {
        self.try_create(pod, sandbox, config).await.unwrap()
    }

    pub async fn start_container(&mut self, id: &str) {
        self.runtime.start_container(StartContainerRequest { container_id: id.into() }).await.unwrap();
    }

    pub async fn run_container(
        &mut self,
        pod: &str,
        sandbox: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> String {
        let id = self.create(pod, sandbox, config).await;
        self.start_container(&id).await;
        id
    }

    pub async fn status(&mut self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: true };
        self.runtime.container_status(request).await.unwrap().into_inner().status.unwrap()
    }

    pub async fn details(&mut self, id: &str) -> serde_json::Value {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: true };
        let info = self.runtime.container_status(request).await.unwrap().into_inner().info;
        serde_json::from_str(&info["info"]).unwrap()
    }

    pub async fn exec(&mut self, id: &str, command: &[&str]) -> (String, i32) {
        let request = ExecSyncRequest { container_id: id.into(), cmd: strings(command), timeout: 20 };
        let reply = self.runtime.exec_sync(request).await.unwrap().into_inner();
        let text =
            String::from_utf8_lossy(&reply.stdout).into_owned() + &String::from_utf8_lossy(&reply.stderr);
        (text, reply.exit_code)
    }

    pub async fn stop_container(&mut self, id: &str, timeout: i64) {
        self.runtime.stop_container(StopContainerRequest { container_id: id.into(), timeout }).await.unwrap();
    }

    pub async fn remove_pod(&mut self, id: &str) {
        self.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.into() }).await.unwrap();
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.into() }).await.unwrap();
    }

    pub async fn addresses(&mut self, id: &str) -> String {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        self.runtime
            .pod_sandbox_status(request)
            .await
            .unwrap()
            .into_inner()
            .status
            .unwrap()
            .network
            .unwrap()
            .ip
    }

    /// Waits until a container has ended.
    pub async fn wait_exited(&mut self, id: &str) -> ContainerStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(id).await;
            if status.state == ContainerState::ContainerExited as i32 {
                return status;
            }
            assert!(Instant::now() < deadline, "{id} does not end: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a file has a text in it.
    pub async fn wait_for_text(&self, path: &Path, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let content = std::fs::read_to_string(path).unwrap_or_default();
            if content.contains(text) {
                return content;
            }
            assert!(Instant::now() < deadline, "{} never had {text:?}: {content:?}", path.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every pod was removed: no mount, process, cgroup or namespace may remind of them.
    async fn check_nothing_is_left(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let directory = self.directory.path().display().to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leftovers = leftovers(&directory, &self.cgroup());
            if leftovers.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "left behind: {leftovers:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            std::fs::read_dir(self.path("runtime/sandboxes")).is_ok_and(|mut dirs| dirs.next().is_none())
        );
    }
}

impl Drop for Node {
    /// After a failed test: leaves the machine as it was.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            eprintln!(
                "--- runtime log\n{}",
                std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
            );
            for entry in std::fs::read_dir(self.path("runtime/sandboxes")).into_iter().flatten().flatten() {
                for file in ["shim.log", "shim.err"] {
                    eprintln!(
                        "--- {file}\n{}",
                        std::fs::read_to_string(entry.path().join(file)).unwrap_or_default()
                    );
                }
            }
        }
        let directory = self.directory.path().display().to_string();
        for pid in processes(&directory, &self.cgroup()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for mount in mounts(&directory).iter().rev() {
            let _ = rustix::mount::unmount(mount.as_str(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn mounts(directory: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(directory)).map(str::to_string).collect()
}

/// Processes whose command line or cgroup belongs to the node.
fn processes(directory: &str, cgroup: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        line.contains(directory) || groups.contains(cgroup)
    })
    .collect()
}

fn leftovers(directory: &str, cgroup: &str) -> Vec<String> {
    let mut all = mounts(directory);
    all.extend(processes(directory, cgroup).iter().map(|pid| format!("process {pid}")));
    for tree in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let group = tree.path().join(cgroup.trim_start_matches('/'));
        for below in ["shims", "kubepods", "pods"] {
            if group.join(below).exists() {
                all.push(group.join(below).display().to_string());
            }
        }
        // The runtime's own group stays, as long as the runtime may come back.
        let _ = std::fs::remove_dir(group);
    }
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
    all.extend(
        String::from_utf8_lossy(&links).lines().filter(|line| line.contains(" kv")).map(str::to_string),
    );
    all
}

async fn serve(directory: &Path, name: &str) -> (Child, Channel) {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("server.log")).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_kontiki-cri"))
        .args(["serve", directory.to_str().unwrap(), name, "10.77.0.0/24"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(channel) = channel(&directory.join("run/cri.sock")).await {
            return (process, channel);
        }
        let log = || std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
        assert!(process.try_wait().unwrap().is_none(), "the runtime ended: {}", log());
        assert!(Instant::now() < deadline, "the runtime does not start: {}", log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A container of the test image that runs a shell script.
pub fn shell(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.into(), ..ImageSpec::default() }),
        command: strings(&["sh", "-c", script]),
        log_path: format!("{name}/0.log"),
        linux: Some(LinuxContainerConfig::default()),
        ..ContainerConfig::default()
    }
}
