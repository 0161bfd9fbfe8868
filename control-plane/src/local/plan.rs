//! What a local cluster consists of. Pure, but for the free ports and ranges that are passed in.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Format of `cluster.json`; raised when old files can no longer be read.
pub const FORMAT: u32 = 1;
/// Most servers of a local cluster: more members only slow the quorum down.
pub const SERVERS_MAX: u16 = 7;
/// Most agents of a local cluster.
pub const AGENTS_MAX: u16 = 100;

/// A local cluster, as it is written to `cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// [`FORMAT`].
    pub format: u32,
    /// Tells the names this cluster gives to things on the machine from those of others: four hex digits.
    pub id: String,
    /// Addresses of pods; every node gets a /24 of it.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// DNS suffix.
    pub domain: String,
    /// Where nodes talk to each other when they have namespaces of their own.
    pub segment: Option<Segment>,
    /// The servers.
    pub servers: Vec<Server>,
    /// The agents.
    pub agents: Vec<Agent>,
}

/// The bridge that joins the nodes' namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Segment {
    /// Name of the bridge.
    pub bridge: String,
    /// Its range; the machine has the first address.
    pub subnet: Ipv4Net,
}

impl Segment {
    /// The machine's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        host(self.subnet, 1)
    }
}

/// One server process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Port of the Kubernetes API.
    pub api_port: u16,
    /// Port of the store's peers.
    pub peer_port: u16,
    /// Port of the etcd API, on loopback.
    pub etcd_port: u16,
}

impl Server {
    /// The Kubernetes API.
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// The store's peers.
    pub fn peer_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.peer_port)
    }
}

/// One agent process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agent {
    /// Its name, also the node's.
    pub name: String,
    /// The node's address.
    pub address: Ipv4Addr,
    /// Port of its HTTPS server.
    pub port: u16,
    /// Network namespace it lives in; none is the machine's own.
    pub namespace: Option<String>,
    /// The machine's end of its cable.
    pub cable: Option<String>,
}

/// What the machine offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Four hex digits nobody uses yet.
    pub id: String,
    /// Free TCP ports: three for each server, then one for each agent.
    pub ports: Vec<u16>,
    /// Ranges that are routed already.
    pub routed: Vec<Ipv4Net>,
    /// The machine's own address.
    pub address: Ipv4Addr,
    /// The machine's name.
    pub hostname: String,
}

/// The `n`th address of a range.
pub fn host(range: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + n)
}

/// Address of cluster DNS: the tenth of the service range, as kubeadm has it.
pub fn dns_address(service_cidr: Ipv4Net) -> Ipv4Addr {
    host(service_cidr, 10)
}

/// Puts a cluster together. `isolated` gives every agent a namespace of its own; several agents always have one.
pub fn cluster(servers: u16, agents: u16, isolated: bool, offer: &Offer) -> Result<Cluster, String> {
    if servers == 0 || servers > SERVERS_MAX {
        return Err(format!("a local cluster has 1 to {SERVERS_MAX} servers, not {servers}"));
    }
    if agents > AGENTS_MAX {
        return Err(format!("a local cluster has at most {AGENTS_MAX} agents, not {agents}"));
    }
    let isolated = agents > 1 || isolated && agents == 1;
    let mut ports = offer.ports.iter().copied();
    let mut port = || ports.next().ok_or("the machine has no free ports left");
    let mut planned_servers = Vec::new();
    for n in 1..=servers {
        planned_servers.push(Server {
            name: format!("server-{n}"),
            api_port: port()?,
            peer_port: port()?,
            etcd_port: port()?,
        });
    }
    let segment = match isolated {
        true => Some(Segment {
            bridge: format!("kontiki-{}", offer.id),
            subnet: free_range(&offer.routed, (172, 30), 24).ok_or("no free range for the nodes' network")?,
        }),
        false => None,
    };
    let mut planned_agents = Vec::new();
    for n in 1..=agents {
        planned_agents.push(match &segment {
            Some(segment) => Agent {
                name: format!("node-{n}"),
                address: host(segment.subnet, 10 + u32::from(n)),
                port: 10250,
                namespace: Some(format!("kontiki-{}-node-{n}", offer.id)),
                cable: Some(format!("kt{}-{n}", offer.id)),
            },
            None => Agent {
                name: offer.hostname.clone(),
                address: offer.address,
                port: port()?,
                namespace: None,
                cable: None,
            },
        });
    }
    Ok(Cluster {
        format: FORMAT,
        id: offer.id.clone(),
        cluster_cidr: free_range(&offer.routed, (10, 244), 16).ok_or("no free range for pods")?,
        service_cidr: free_range(&offer.routed, (10, 96), 16).ok_or("no free range for services")?,
        domain: "cluster.local".to_owned(),
        segment,
        servers: planned_servers,
        agents: planned_agents,
    })
}

/// The preferred range, or the next one that overlaps nothing: /16 ranges step in the second byte, /24 in the
/// third.
fn free_range(routed: &[Ipv4Net], first: (u8, u8), prefix: u8) -> Option<Ipv4Net> {
    let candidates = (0..=255u8).map(|step| match prefix {
        24 => [first.0, first.1, step, 0],
        _ => [first.0, first.1.wrapping_add(step), 0, 0],
    });
    candidates
        .filter_map(|address| Ipv4Net::new(address.into(), prefix).ok())
        .find(|range| !routed.iter().any(|other| other.contains(range) || range.contains(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            id: "00ff".into(),
            ports: (7000..7100).collect(),
            routed: vec!["192.0.2.0/24".parse().unwrap()],
            address: [192, 0, 2, 2].into(),
            hostname: "box".into(),
        }
    }

    #[test]
    fn one_agent_is_the_machine_itself() {
        let cluster = cluster(1, 1, false, &offer()).unwrap();
        assert_eq!(cluster.segment, None);
        assert_eq!(
            (cluster.agents[0].name.as_str(), cluster.agents[0].address),
            ("box", [192, 0, 2, 2].into())
        );
        assert_eq!(dns_address(cluster.service_cidr), Ipv4Addr::new(10, 96, 0, 10));
    }

    #[test]
    fn several_agents_live_in_namespaces_of_their_own() {
        let cluster = cluster(3, 2, false, &offer()).unwrap();
        let segment = cluster.segment.unwrap();
        assert!(
            segment.bridge.len() <= 15
                && cluster.agents.iter().all(|a| a.cable.as_ref().unwrap().len() <= 15)
        );
        assert_eq!(segment.gateway(), Ipv4Addr::new(172, 30, 0, 1));
        let addresses: Vec<_> = cluster.agents.iter().map(|agent| agent.address).collect();
        assert_eq!(addresses, [Ipv4Addr::new(172, 30, 0, 11), Ipv4Addr::new(172, 30, 0, 12)]);
        let mut ports: Vec<_> =
            cluster.servers.iter().flat_map(|s| [s.api_port, s.peer_port, s.etcd_port]).collect();
        ports.dedup();
        assert_eq!(ports.len(), 9);
    }

    #[test]
    fn a_second_cluster_keeps_clear_of_the_first() {
        let mut offer = offer();
        offer.routed.extend(["10.244.1.0/24".parse::<Ipv4Net>().unwrap(), "172.30.0.0/24".parse().unwrap()]);
        let cluster = cluster(1, 1, true, &offer).unwrap();
        assert_eq!(cluster.cluster_cidr.to_string(), "10.245.0.0/16");
        assert_eq!(cluster.segment.unwrap().subnet.to_string(), "172.30.1.0/24");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(cluster(0, 1, false, &offer()).is_err());
        assert!(cluster(8, 1, false, &offer()).is_err());
        assert!(cluster(1, 101, false, &offer()).is_err());
        assert!(cluster(40, 0, false, &Offer { ports: vec![], ..offer() }).is_err());
    }
}
