//! The parts of the cluster's network, numbered. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::limits;

pub(super) struct Parts {
    cluster: IpNet,
    prefix: u8,
    count: u64,
}

impl Parts {
    /// `prefix` is at least the cluster's and at most the family's longest, as the options ensure.
    pub(super) fn new(cluster: IpNet, prefix: u8) -> Self {
        let bits = u32::from(prefix.saturating_sub(cluster.prefix_len()));
        let count = 1u128.checked_shl(bits).unwrap_or(u128::MAX).min(limits::NODE_CIDRS_MAX);
        Self { cluster: cluster.trunc(), prefix, count: u64::try_from(count).unwrap_or(u64::MAX) }
    }

    /// The first part that nobody has.
    pub(super) fn first_free(&self, taken: impl Iterator<Item = u64>) -> Option<u64> {
        let taken: BTreeSet<u64> = taken.collect();
        (0..self.count).find(|part| !taken.contains(part))
    }

    /// The network of a part.
    pub(super) fn cidr(&self, part: u64) -> IpNet {
        let host_bits = u32::from(self.cluster.max_prefix_len() - self.prefix);
        let offset = u128::from(part) << host_bits;
        let address = match self.cluster.network() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) | u32::try_from(offset).unwrap_or(0))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) | offset)),
        };
        IpNet::new(address, self.prefix).expect("the prefix was validated against the family")
    }

    /// The part of a network, if it is one of ours.
    pub(super) fn index(&self, cidr: &str) -> Option<u64> {
        let network: IpNet = cidr.parse().ok()?;
        if !self.cluster.contains(&network.network()) {
            return None;
        }
        let number = |ip| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        let offset = number(network.network()) - number(self.cluster.network());
        u64::try_from(offset >> u32::from(self.cluster.max_prefix_len() - self.prefix)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_and_the_first_free_one_is_found() {
        let parts = Parts::new("10.244.0.0/16".parse().unwrap(), 24);
        assert_eq!(parts.cidr(0).to_string(), "10.244.0.0/24");
        assert_eq!(parts.cidr(255).to_string(), "10.244.255.0/24");
        assert_eq!(parts.index("10.244.7.0/24"), Some(7));
        assert_eq!(parts.index("192.168.0.0/24"), None);
        assert_eq!(parts.first_free([0, 1, 3].into_iter()), Some(2));
        assert_eq!(parts.first_free(0..256), None);
        let six = Parts::new("fd00::/48".parse().unwrap(), 64);
        assert_eq!(six.cidr(258).to_string(), "fd00:0:0:102::/64");
        assert_eq!(six.index("fd00:0:0:102::/64"), Some(258));
    }
}
