//! Brings a local cluster up: what is missing is made, what does not run is started, then all of it is waited for.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use apiserver::pki::Issued;

use super::{
    Error, machine,
    plan::{self, Agent, Cluster, Server},
    process,
    ready::Probe,
    state::{self, Layout},
};
use crate::{
    agent,
    control_plane::{self, Peer},
    pki::Pki,
};

/// How often a starting process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Longest until all servers serve. An election takes a second; a loaded machine is given a minute.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest until all nodes are ready, the import of images included.
const NODES_TIMEOUT: Duration = Duration::from_secs(120);

/// What is asked for. Numbers matter only when the directory holds no cluster yet.
#[derive(Clone, Debug)]
pub struct Request {
    /// The cluster's directory.
    pub data_dir: PathBuf,
    /// A second place for the kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// How many servers, if said.
    pub servers: Option<u16>,
    /// How many agents, if said.
    pub agents: Option<u16>,
    /// Give even a single agent a network namespace of its own.
    pub isolated: bool,
    /// Image archives that every node gets.
    pub images: Vec<PathBuf>,
    /// The program that becomes servers and agents: `kontiki` itself.
    pub program: PathBuf,
}

/// A cluster that is up.
#[derive(Clone, Debug)]
pub struct Started {
    /// The kubeconfig to use.
    pub kubeconfig: PathBuf,
    /// What the cluster consists of.
    pub cluster: Cluster,
    /// Whether it was made by this call.
    pub created: bool,
}

/// Brings the cluster up and tells `progress` about each step.
pub async fn up(request: Request, progress: &(dyn Fn(&str) + Sync)) -> Result<Started, Error> {
    let layout = Layout::new(&request.data_dir);
    let created = !layout.exists();
    let cluster =
        if created { create(&layout, &request, progress)? } else { reuse(&layout, &request, progress)? };
    let pki = Pki::open(&layout.pki()).map_err(pki_failed)?;
    let kubeconfig = write_kubeconfig(&layout, &request, &cluster, &pki)?;
    copy_images(&layout, &request.images)?;
    if let Some(segment) = &cluster.segment {
        progress(&format!("preparing the network of {} nodes on {}", cluster.agents.len(), segment.bridge));
        machine::prepare(segment, &cluster.agents)?;
    }
    for server in &cluster.servers {
        start_server(&layout, &cluster, server, &request.program, progress)?;
    }
    let probe = Probe::new(&layout)?;
    wait_for_servers(&layout, &cluster, &probe).await?;
    progress(&format!("the API answers at {}", cluster.servers[0].api_url()));
    for agent in &cluster.agents {
        start_agent(&layout, &cluster, agent, &pki, &request.program, progress)?;
    }
    wait_for_nodes(&layout, &cluster, &probe).await?;
    if !cluster.agents.is_empty() {
        progress(&format!("{} of {} nodes are ready", cluster.agents.len(), cluster.agents.len()));
    }
    Ok(Started { kubeconfig, cluster, created })
}

fn create(layout: &Layout, request: &Request, progress: &dyn Fn(&str)) -> Result<Cluster, Error> {
    let servers = request.servers.unwrap_or(1);
    let mut agents = request.agents.unwrap_or(1);
    if agents > 0 && !machine::is_root() {
        progress("not root: no containers, namespaces or service addresses; starting the control plane only");
        agents = 0;
    }
    let offer = machine::offer(servers, agents)?;
    let cluster = plan::cluster(servers, agents, request.isolated, &offer).map_err(Error::Refused)?;
    state::make_dir(layout.root())?;
    Pki::open(&layout.pki()).map_err(pki_failed)?;
    layout.write(&cluster)?;
    progress(&format!("new cluster in {}", layout.root().display()));
    Ok(cluster)
}

fn reuse(layout: &Layout, request: &Request, progress: &dyn Fn(&str)) -> Result<Cluster, Error> {
    let cluster = layout.read()?;
    let differs = |asked: Option<u16>, has: usize| asked.is_some_and(|asked| usize::from(asked) != has);
    if differs(request.servers, cluster.servers.len()) || differs(request.agents, cluster.agents.len()) {
        return Err(Error::Refused(format!(
            "{} holds a cluster of {} servers and {} agents; its size cannot be changed by `up`",
            layout.root().display(),
            cluster.servers.len(),
            cluster.agents.len()
        )));
    }
    progress(&format!("cluster of {}", layout.root().display()));
    Ok(cluster)
}

fn write_kubeconfig(
    layout: &Layout,
    request: &Request,
    cluster: &Cluster,
    pki: &Pki,
) -> Result<PathBuf, Error> {
    let name = |n: usize, server: &Server| {
        if n == 0 { "kontiki".to_owned() } else { format!("kontiki-{}", server.name) }
    };
    let servers: Vec<_> =
        cluster.servers.iter().enumerate().map(|(n, server)| (name(n, server), server.api_url())).collect();
    let text = pki.admin_kubeconfig(&servers).map_err(pki_failed)?;
    state::write_private(&layout.kubeconfig(), text.as_bytes())?;
    match &request.kubeconfig {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            state::write_private(&path, text.as_bytes())?;
            Ok(path)
        }
        None => Ok(layout.kubeconfig()),
    }
}

fn copy_images(layout: &Layout, images: &[PathBuf]) -> Result<(), Error> {
    state::make_dir(&layout.images())?;
    for image in images {
        let Some(name) = image.file_name() else {
            return Err(Error::Refused(format!("{} is no image archive", image.display())));
        };
        std::fs::copy(image, layout.images().join(name)).map_err(|source| Error::File {
            action: "copy",
            path: image.clone(),
            source,
        })?;
    }
    Ok(())
}

fn start_server(
    layout: &Layout,
    cluster: &Cluster,
    server: &Server,
    program: &Path,
    progress: &dyn Fn(&str),
) -> Result<(), Error> {
    let dir = layout.server(&server.name);
    if process::running(&dir).is_some() {
        return Ok(());
    }
    let advertise = match (&cluster.segment, cluster.agents.first()) {
        (Some(segment), _) => segment.gateway(),
        (None, Some(agent)) => agent.address,
        (None, None) => std::net::Ipv4Addr::LOCALHOST,
    };
    let peer = |s: &Server| Peer { name: s.name.clone(), url: s.peer_url() };
    let options = control_plane::Options {
        name: server.name.clone(),
        data_dir: dir.join("data"),
        pki_dir: Some(layout.pki()),
        listen: ([0, 0, 0, 0], server.api_port).into(),
        advertise: advertise.into(),
        cluster_token: cluster.id.clone(),
        peers: cluster.servers.iter().map(peer).collect(),
        listen_peer: Some(([127, 0, 0, 1], server.peer_port).into()),
        listen_etcd: Some(([127, 0, 0, 1], server.etcd_port).into()),
        cluster_cidr: cluster.cluster_cidr,
        service_cidr: cluster.service_cidr,
        domain: cluster.domain.clone(),
        ..control_plane::Options::default()
    };
    let config = write_config(&dir, &options)?;
    let pid = process::start(program, &["server".into(), "--config".into(), config], &dir)?;
    progress(&format!("{} started (pid {pid}, port {})", server.name, server.api_port));
    Ok(())
}

fn start_agent(
    layout: &Layout,
    cluster: &Cluster,
    agent: &Agent,
    pki: &Pki,
    program: &Path,
    progress: &dyn Fn(&str),
) -> Result<(), Error> {
    let dir = layout.agent(&agent.name);
    if process::running(&dir).is_some() {
        return Ok(());
    }
    let address = cluster.segment.as_ref().map_or(std::net::Ipv4Addr::LOCALHOST, plan::Segment::gateway);
    let user = format!("system:node:{}", agent.name);
    let client = pki.client(&user, &["system:nodes"]).map_err(pki_failed)?;
    let server = pki.node_server(&agent.name, agent.address.into()).map_err(pki_failed)?;
    let keys = dir.join("pki");
    state::write_private(&keys.join("ca.crt"), pki.ca().as_bytes())?;
    let save = |issued: &Issued, name: &str| -> Result<(PathBuf, PathBuf), Error> {
        let (certificate, key) = (keys.join(format!("{name}.crt")), keys.join(format!("{name}.key")));
        state::write_private(&certificate, issued.certificate.as_bytes())?;
        state::write_private(&key, issued.key.as_bytes())?;
        Ok((certificate, key))
    };
    let (client_certificate, client_key) = save(&client, "client")?;
    let (server_certificate, server_key) = save(&server, "server")?;
    let options = agent::Options {
        name: agent.name.clone(),
        address: agent.address.into(),
        port: agent.port,
        data_dir: dir.join("data"),
        instance: format!("{}-{}", cluster.id, agent.name),
        servers: cluster
            .servers
            .iter()
            .map(|server| format!("https://{address}:{}", server.api_port))
            .collect(),
        ca: keys.join("ca.crt"),
        client_certificate,
        client_key,
        server_certificate,
        server_key,
        network_namespace: agent.namespace.as_ref().map(|name| Path::new("/run/netns").join(name)),
        image_dirs: vec![layout.images()],
        cluster_cidr: cluster.cluster_cidr,
        service_cidr: cluster.service_cidr,
        domain: cluster.domain.clone(),
        ..agent::Options::default()
    };
    let config = write_config(&dir, &options)?;
    let pid = process::start(program, &["agent".into(), "--config".into(), config], &dir)?;
    progress(&format!("{} started (pid {pid}, address {})", agent.name, agent.address));
    Ok(())
}

fn write_config(dir: &Path, options: &impl serde::Serialize) -> Result<String, Error> {
    let path = dir.join("config.json");
    let text = serde_json::to_vec_pretty(options).expect("options are plain data");
    state::write_private(&path, &text)?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Error::Refused(format!("{} is not UTF-8", path.display())))
}

async fn wait_for_servers(layout: &Layout, cluster: &Cluster, probe: &Probe) -> Result<(), Error> {
    let deadline = Instant::now() + SERVERS_TIMEOUT;
    for server in &cluster.servers {
        let dir = layout.server(&server.name);
        while !probe.server(server).await.is_some_and(|answer| answer.ready) {
            check(&server.name, &dir, deadline, SERVERS_TIMEOUT)?;
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

async fn wait_for_nodes(layout: &Layout, cluster: &Cluster, probe: &Probe) -> Result<(), Error> {
    let deadline = Instant::now() + NODES_TIMEOUT;
    loop {
        let ready = probe.ready_nodes(cluster).await;
        let Some(missing) = cluster.agents.iter().find(|agent| !ready.contains(&agent.name)) else {
            return Ok(());
        };
        check(&missing.name, &layout.agent(&missing.name), deadline, NODES_TIMEOUT)?;
        tokio::time::sleep(POLL).await;
    }
}

/// Says why waiting is in vain.
fn check(name: &str, dir: &Path, deadline: Instant, patience: Duration) -> Result<(), Error> {
    let what = if process::running(dir).is_none() {
        "ended while it was starting".to_owned()
    } else if Instant::now() > deadline {
        format!("was not ready after {patience:?}")
    } else {
        return Ok(());
    };
    Err(Error::Process { name: name.to_owned(), what, log: process::log_tail(dir) })
}

fn pki_failed(why: crate::pki::Error) -> Error {
    Error::Pki(why.to_string())
}
