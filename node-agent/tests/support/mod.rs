//! A stage for an agent: a runtime, an API in memory, certificates, and a network namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use client::{fake, typed::Client};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Pod};
use kontiki_node_agent::{
    Agent, Handle, Options, ServerTls,
    cri::{Remote, Runtime, Selector},
};
use runtime::image::build::{Recipe, build};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long anything may take here, on a machine that others use.
const PATIENCE: Duration = Duration::from_secs(60);
const IMAGE: &str = "docker.io/library/kontiki-hello:1";

/// A running agent.
pub struct Running {
    pub handle: Handle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Everything around it.
pub struct Stage {
    pub client: Client,
    pub agent: Option<Running>,
    objects: fake::Objects,
    dir: tempfile::TempDir,
    name: String,
    client_tls: Arc<rustls::ClientConfig>,
    anonymous_tls: Arc<rustls::ClientConfig>,
}

pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn row<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    pod.status.as_ref()?.container_statuses.iter().flatten().find(|s| s.name == name)
}

impl Stage {
    /// Plays a scene on a fresh stage, or says why it cannot.
    pub fn play(name: &str, scene: impl AsyncFnOnce(&mut Stage)) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: containers need root");
            return;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("SKIPPED: the image is made from /bin/busybox (package busybox-static)");
            return;
        }
        if std::env::var_os("STAGE_INSIDE").is_none() {
            // Processes and threads alike are to be in the new namespace, so the program starts again there.
            let me = std::env::current_exe().unwrap();
            let mut inside = Command::new("unshare");
            inside.arg("--net").arg(me).args(std::env::args_os().skip(1)).env("STAGE_INSIDE", "1");
            let status = inside.status().unwrap();
            std::process::exit(status.code().unwrap_or(1));
        }
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stage = Self::set(name).await;
            scene(&mut stage).await;
            stage.stop_agent().await;
        });
    }

    async fn set(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ka").tempdir().unwrap();
        let name = format!("{name}{}", std::process::id());
        fs::create_dir(dir.path().join("images")).unwrap();
        let recipe = Recipe::hello(IMAGE, "1", Path::new("/bin/busybox"));
        build(&recipe, &dir.path().join("images/hello.tar")).unwrap();
        let shim = vec![std::env::current_exe().unwrap().to_string_lossy().into_owned(), "shim".into()];
        let options = runtime::Options::in_dir(dir.path(), &name, shim);
        let server = runtime::Server::start(options).await.unwrap();
        tokio::spawn(async move { server.serve(CancellationToken::new()).await.unwrap() });
        let objects = fake::Objects::new();
        let client = Client::new(Arc::new(objects.clone()));
        for namespace in ["default", "kube-node-lease"] {
            let namespace: Namespace =
                serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
            client.create(&namespace).await.unwrap();
        }
        let (client_tls, anonymous_tls) = make_certificates(dir.path());
        let mut stage = Self { client, agent: None, objects, dir, name, client_tls, anonymous_tls };
        stage.start_agent();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn remote(&self) -> Remote {
        Remote::new(&self.path("run/cri.sock")).unwrap()
    }

    pub fn start_agent(&mut self) {
        let options = Options {
            node_name: "n1".into(),
            root_dir: self.path("agent"),
            runtime_endpoint: self.path("run/cri.sock"),
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            server_addr: "127.0.0.1:0".parse().unwrap(),
            server_tls: Some(ServerTls {
                certificate: self.path("server.crt"),
                key: self.path("server.key"),
                client_ca: self.path("ca.crt"),
            }),
            cgroup_root: format!("/kontiki-{}", self.name),
            ..Options::default()
        };
        let agent = Agent::new(options, Arc::new(self.objects.clone()), Arc::new(self.remote())).unwrap();
        let (handle, shutdown) = (agent.handle(), CancellationToken::new());
        let token = shutdown.clone();
        let task = tokio::spawn(async move { agent.run(token).await.unwrap() });
        self.agent = Some(Running { handle, shutdown, task });
    }

    pub async fn stop_agent(&mut self) {
        let running = self.agent.take().unwrap();
        running.shutdown.cancel();
        running.task.await.unwrap();
    }

    pub async fn create_pod(&self, name: &str, spec: Value) {
        let pod = json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec});
        self.client.create::<Pod>(&serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Tries something until it is there.
    pub async fn wait_for<T>(&self, what: &str, find: impl AsyncFn(&Stage) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(self).await {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: not in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn wait_for_pod(&self, name: &str, what: &str, check: impl Fn(&Pod) -> bool) -> Pod {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pod = self.client.find::<Pod>("default", name).await.unwrap();
            if let Some(pod) = pod.as_ref().filter(|p| check(p)) {
                return pod.clone();
            }
            if Instant::now() > deadline {
                let events =
                    self.client.list::<k8s_openapi::api::core::v1::Event>("default", "").await.unwrap();
                let events: Vec<_> = events.iter().map(|e| (&e.reason, &e.message)).collect();
                panic!("{what}: not in time: {:#?} {events:#?}", pod.map(|p| p.status));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a shell in a container says.
    pub async fn exec(&self, pod: &str, container: &str, script: &str) -> String {
        let remote = self.remote();
        let labels = [("io.kubernetes.pod.name", pod), ("io.kubernetes.container.name", container)];
        let labels: Selector = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mut found = remote.list_containers(labels).await.unwrap();
        found.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let done = remote.exec_sync(&found[0].id, command, 10).await.unwrap();
        kontiki_node_agent::cri::exec_output(&done)
    }

    pub async fn get_page(&self, ip: &str) -> String {
        let stream = TcpStream::connect((ip, 8080)).await.unwrap();
        let (code, page) = exchange(stream, "/", &[]).await;
        assert_eq!(code, 200);
        page
    }

    /// Asks the agent's server as the API server would; with an upgrade, everything that comes after it.
    pub async fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        exchange(self.connect(&self.client_tls).await, path, headers).await
    }

    pub async fn fetch_anonymously(&self, path: &str) -> u16 {
        exchange(self.connect(&self.anonymous_tls).await, path, &[]).await.0
    }

    async fn connect(&self, tls: &Arc<rustls::ClientConfig>) -> tokio_rustls::client::TlsStream<TcpStream> {
        let port = self.agent.as_ref().unwrap().handle.server_port();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.unwrap()
    }

    /// Whether nothing is left of any pod: in the runtime, on disk, among mounts.
    pub async fn is_empty(&self) -> bool {
        let remote = self.remote();
        let containers = remote.list_containers(Selector::new()).await.unwrap();
        let sandboxes = remote.list_sandboxes(Selector::new()).await.unwrap();
        let left = |dir: &str| fs::read_dir(self.path(dir)).unwrap().count();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let pods = self.path("agent/pods").to_string_lossy().into_owned();
        containers.is_empty()
            && sandboxes.is_empty()
            && left("agent/pods") == 0
            && left("agent/logs/pods") == 0
            && !mounts.contains(&pods)
    }
}

async fn exchange<S>(stream: S, path: &str, headers: &[(&str, &str)]) -> (u16, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = http::Request::get(path).header("host", "agent");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    if code == 101 {
        let mut upgraded = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        let mut bytes = Vec::new();
        let all = upgraded.read_to_end(&mut bytes);
        // A stream that is cut at its end has said what it had to say.
        let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
        return (code, String::from_utf8_lossy(&bytes).into_owned());
    }
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

fn make_certificates(dir: &Path) -> (Arc<rustls::ClientConfig>, Arc<rustls::ClientConfig>) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "test");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    let client_key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(Vec::<String>::new()).unwrap();
    client.distinguished_name.push(DnType::CommonName, "kube-apiserver-kubelet-client");
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let client = client.signed_by(&client_key, &issuer).unwrap();
    fs::write(dir.join("ca.crt"), &ca_pem).unwrap();
    fs::write(dir.join("server.crt"), server.pem()).unwrap();
    fs::write(dir.join("server.key"), server_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots.clone())
    };
    let certificate = CertificateDer::from_pem_slice(client.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(client_key.serialize_pem().as_bytes()).unwrap();
    let known = builder().with_client_auth_cert(vec![certificate], key).unwrap();
    (Arc::new(known), Arc::new(builder().with_no_client_auth()))
}
