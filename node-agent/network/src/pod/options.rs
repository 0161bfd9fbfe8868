//! What the pod network can be told.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// Longest name of a network interface.
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Configuration of [`super::PodNetwork`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Name of the bridge; the nftables table is named after it.
    pub bridge: String,
    /// Pod CIDRs of this node, if they are known already; else [`super::PodNetwork::set_pod_cidrs`].
    #[serde(default)]
    pub pod_cidrs: Vec<IpNet>,
    /// Largest packet, in bytes; none is the kernel's 1500. Lower it when nodes talk through a tunnel.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Directory of address reservations.
    pub state_dir: PathBuf,
    /// Destinations that see pods' own addresses, besides the pod CIDRs of this node and its peers.
    #[serde(default)]
    pub no_masquerade: Vec<IpNet>,
    /// Where a CNI configuration would be.
    #[serde(default)]
    pub cni: Cni,
}

/// Where CNI configurations and plugins are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cni {
    /// The first `*.conflist` or `*.conf` in here wins over the built-in network. None switches CNI off.
    pub conf_dir: Option<PathBuf>,
    /// Directories of plugin programs.
    pub bin_dirs: Vec<PathBuf>,
}

impl Default for Cni {
    fn default() -> Self {
        Self {
            conf_dir: Some("/etc/cni/net.d".into()),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        }
    }
}

impl Options {
    /// The usual settings for a node of this name. Long names are shortened to what an interface can be called.
    pub fn new(name: &str, state_dir: PathBuf) -> Self {
        Self {
            bridge: interface_name("kt-", name),
            pod_cidrs: Vec::new(),
            mtu: None,
            state_dir,
            no_masquerade: Vec::new(),
            cni: Cni::default(),
        }
    }

    /// Says which field cannot be used, and why.
    pub fn validate(&self) -> Result<()> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.bridge.is_empty()
            || self.bridge.len() > INTERFACE_NAME_BYTES_MAX
            || !self.bridge.bytes().all(good)
            || self.bridge.starts_with('.')
        {
            return Err(Error::Invalid(format!("{:?} is no name for a network interface", self.bridge)));
        }
        check_cidrs(&self.pod_cidrs)
    }

    /// Name of the nftables table.
    pub(super) fn table(&self) -> String {
        format!("kontiki-pods-{}", self.bridge)
    }
}

/// At most one CIDR of each family, with room for a bridge and at least one pod.
pub(super) fn check_cidrs(cidrs: &[IpNet]) -> Result<()> {
    for (position, cidr) in cidrs.iter().enumerate() {
        if cidrs[..position].iter().any(|other| other.addr().is_ipv4() == cidr.addr().is_ipv4()) {
            return Err(Error::Invalid("a node has at most one pod CIDR of each family".into()));
        }
        if cidr.max_prefix_len() - cidr.prefix_len() < 2 {
            return Err(Error::Invalid(format!("pod CIDR {cidr} is too small")));
        }
    }
    Ok(())
}

/// A name an interface can have: prefix and name if that fits, else the prefix and a hash of the name.
fn interface_name(prefix: &str, name: &str) -> String {
    let clean = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if clean && prefix.len() + name.len() <= INTERFACE_NAME_BYTES_MAX {
        return format!("{prefix}{name}");
    }
    format!("{prefix}{:010x}", fnv1a(name.as_bytes()) & 0xff_ffff_ffff)
}

/// Fowler, Noll and Vo's hash: the same in every version of this program, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_name_gives_a_valid_bridge_name() {
        for name in ["a", "agent-1", "a-very-long-node-name.example.com", "", "Ümlaut"] {
            let options = Options::new(name, "/state".into());
            options
                .validate()
                .unwrap_or_else(|error| panic!("{name:?} became {:?}: {error}", options.bridge));
        }
        assert_eq!(Options::new("agent-1", "/s".into()).bridge, "kt-agent-1");
    }

    #[test]
    fn unusable_cidrs_are_refused() {
        let parse = |list: &[&str]| list.iter().map(|cidr| cidr.parse().unwrap()).collect::<Vec<IpNet>>();
        assert!(check_cidrs(&parse(&["10.0.0.0/24", "fd00::/64"])).is_ok());
        assert!(check_cidrs(&parse(&["10.0.0.0/24", "10.0.1.0/24"])).is_err());
        assert!(check_cidrs(&parse(&["10.0.0.0/31"])).is_err());
    }
}
