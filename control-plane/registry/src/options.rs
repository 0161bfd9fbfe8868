//! What can be set about the registry.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Options of the registry. Every member of a cluster must be given the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    /// Addresses of Services, the primary family first; default `10.96.0.0/12`, as kubeadm has it.
    pub service_cidrs: Vec<IpNet>,
    /// First port of NodePort services; default 30000.
    pub node_port_min: u16,
    /// Last port of NodePort services; default 32767.
    pub node_port_max: u16,
    /// DNS suffix of the cluster; default `cluster.local`.
    pub cluster_domain: String,
    /// How long an Event is kept, in seconds; default 3600.
    pub event_ttl_s: i64,
    /// Toleration given to pods for `not-ready` and `unreachable` nodes, in seconds; default 300.
    pub default_toleration_s: i64,
    /// Time between bookmarks, in milliseconds; default one minute.
    pub bookmark_period_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service_cidrs: vec![IpNet::new([10, 96, 0, 0].into(), 12).expect("a constant that is valid")],
            node_port_min: 30_000,
            node_port_max: 32_767,
            cluster_domain: "cluster.local".into(),
            event_ttl_s: 3_600,
            default_toleration_s: 300,
            bookmark_period_ms: u64::try_from(crate::limits::BOOKMARK_PERIOD.as_millis())
                .expect("a minute fits"),
        }
    }
}

impl Options {
    /// Checks that the options make sense together.
    pub fn validate(&self) -> Result<(), String> {
        match self.service_cidrs.as_slice() {
            [] => return Err("serviceCidrs: at least one range is needed".into()),
            [_] => {}
            [a, b] if a.addr().is_ipv4() != b.addr().is_ipv4() => {}
            _ => return Err("serviceCidrs: at most one range per address family".into()),
        }
        if self.service_cidrs.iter().any(|cidr| cidr.max_prefix_len() - cidr.prefix_len() < 2) {
            return Err("serviceCidrs: a range needs at least four addresses".into());
        }
        if self.node_port_min == 0 || self.node_port_min > self.node_port_max {
            return Err("nodePortMin must be at least 1 and not above nodePortMax".into());
        }
        if self.event_ttl_s <= 0 {
            return Err("eventTtlS must be positive".into());
        }
        Ok(())
    }
}
