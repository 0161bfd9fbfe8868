//! What an operator may choose.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Settings of all controllers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// Addresses of all pods; each node gets a part of it. Default 10.244.0.0/16.
    pub cluster_cidr: IpNet,
    /// Prefix length of a node's part. Default 24 (254 pods).
    pub node_cidr_prefix: u8,
    /// Seconds without a renewal of a node's Lease after which its state is unknown. Default 40, as upstream.
    pub node_grace_seconds: u64,
    /// Seconds between looks at the nodes. Default 5, as upstream.
    pub node_period_seconds: u64,
    /// Ended pods to keep before the oldest are deleted; 0 keeps all. Default 12500, as upstream.
    pub terminated_pods_max: usize,
    /// Keys each controller works on at the same time. Default 5, as upstream.
    pub workers: usize,
    /// Certificates of the cluster's authority as PEM, published in every namespace; empty publishes none.
    pub root_ca: String,
    /// Namespace of the Lease that controllers are elected with. Default kube-system.
    pub lease_namespace: String,
    /// Seconds that others wait for a leader that has gone silent. Default 15, as upstream.
    pub lease_seconds: u64,
    /// Seconds a leader tries to renew before it gives up; less than `leaseSeconds`. Default 10, as upstream.
    pub renew_seconds: u64,
    /// Seconds between tries to lead or renew. Default 2, as upstream.
    pub retry_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_cidr: "10.244.0.0/16".parse().expect("a constant CIDR parses"),
            node_cidr_prefix: 24,
            node_grace_seconds: 40,
            node_period_seconds: 5,
            terminated_pods_max: 12_500,
            workers: 5,
            root_ca: String::new(),
            lease_namespace: "kube-system".to_owned(),
            lease_seconds: 15,
            renew_seconds: 10,
            retry_seconds: 2,
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A node's part must fit into the whole.
    #[error("nodeCidrPrefix {prefix} must lie between the prefix of {cluster} and {max}")]
    NodePrefix {
        /// The prefix asked for.
        prefix: u8,
        /// The whole.
        cluster: IpNet,
        /// The longest that makes sense.
        max: u8,
    },
    /// The leader must give up before others take over.
    #[error("retrySeconds < renewSeconds < leaseSeconds must hold")]
    Lease,
    /// Zero where something must happen.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Options {
    /// Refuses settings that cannot work.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let (cluster, prefix, max) =
            (self.cluster_cidr, self.node_cidr_prefix, self.cluster_cidr.max_prefix_len() - 2);
        if prefix < cluster.prefix_len() || prefix > max {
            return Err(OptionsError::NodePrefix { prefix, cluster, max });
        }
        if self.retry_seconds >= self.renew_seconds || self.renew_seconds >= self.lease_seconds {
            return Err(OptionsError::Lease);
        }
        let counts = [
            ("workers", self.workers as u64),
            ("nodeGraceSeconds", self.node_grace_seconds),
            ("nodePeriodSeconds", self.node_period_seconds),
            ("retrySeconds", self.retry_seconds),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(OptionsError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(Options::default().validate().is_ok());
        assert!(Options { node_cidr_prefix: 8, ..Options::default() }.validate().is_err());
        assert!(Options { renew_seconds: 15, ..Options::default() }.validate().is_err());
        assert!(Options { workers: 0, ..Options::default() }.validate().is_err());
    }
}
