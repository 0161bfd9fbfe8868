//! Names outside the cluster are asked of the node's own name servers.

use std::net::IpAddr;

use hickory_server::{
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, Record, RecordType},
    },
    resolver::{Resolver, TokioResolver, config::ResolverConfig, system_conf::parse_resolv_conf},
};
use tokio::sync::Semaphore;

use crate::limits::FORWARDS_MAX;

/// Asks other servers.
pub struct Forwarder {
    resolver: Option<TokioResolver>,
    under_way: Semaphore,
}

impl Forwarder {
    /// Forwards to the name servers of a `resolv.conf`, but for `own`, which would be a loop. Without any,
    /// every name outside the cluster fails at once.
    pub fn new(resolv_conf: &str, own: &[IpAddr]) -> Self {
        let servers = parse_resolv_conf(resolv_conf).ok().map(|(config, _)| config);
        let servers = servers.into_iter().flat_map(|config| config.name_servers().to_vec());
        let servers: Vec<_> = servers.filter(|server| !own.contains(&server.ip)).collect();
        let resolver = (!servers.is_empty()).then(|| {
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build().ok()
        });
        Self { resolver: resolver.flatten(), under_way: Semaphore::new(FORWARDS_MAX) }
    }

    /// Records of a name, or the response code that says why there are none.
    pub async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, ResponseCode> {
        let resolver = self.resolver.as_ref().ok_or(ResponseCode::ServFail)?;
        let _permit = self.under_way.try_acquire().map_err(|_| ResponseCode::Refused)?;
        match resolver.lookup(name.clone(), kind).await {
            Ok(found) => Ok(found.answers().to_vec()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Err(none.response_code),
            Err(_) => Err(ResponseCode::ServFail),
        }
    }
}
