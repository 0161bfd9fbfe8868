//! Members that the DNS names (`--discovery-srv`): the services `etcd-client-ssl` and `etcd-client` of a domain.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RData;

use super::Error;

/// Asks those whom this machine asks.
pub(super) fn resolver(patience: Duration) -> Result<TokioResolver, Error> {
    let failed = |error: NetError| Error::Failed(format!("cannot ask the DNS: {error}"));
    let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
    builder.options_mut().timeout = patience;
    builder.build().map_err(failed)
}

/// The members of a domain, those with TLS first, each kind in the order that its records ask for.
pub(super) async fn find(
    resolver: &TokioResolver,
    domain: &str,
    cluster: Option<&str>,
) -> Result<Vec<String>, Error> {
    let cluster = cluster.map(|name| format!("-{name}")).unwrap_or_default();
    let domain = domain.trim_end_matches('.');
    let mut found = Vec::new();
    let mut refused = Vec::new();
    for (scheme, service) in [("https", "etcd-client-ssl"), ("http", "etcd-client")] {
        let name = format!("_{service}{cluster}._tcp.{domain}.");
        match resolver.srv_lookup(&name).await {
            Ok(answer) => {
                let mut records: Vec<_> = answer
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::SRV(srv) => Some(srv),
                        _ => None,
                    })
                    .collect();
                records.sort_by_key(|srv| (srv.priority, u16::MAX - srv.weight));
                let host = |name: String| name.trim_end_matches('.').to_owned();
                found.extend(
                    records
                        .iter()
                        .map(|srv| format!("{scheme}://{}:{}", host(srv.target.to_utf8()), srv.port)),
                );
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => {
                refused.push(format!("no SRV records of {name}"))
            }
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    if found.is_empty() {
        return Err(Error::Failed(format!("the DNS names no member of {domain}: {}", refused.join("; "))));
    }
    Ok(found)
}

/// Those of them that may be asked.
pub(super) fn allowed(mut found: Vec<String>, domain: &str, insecure: bool) -> Result<Vec<String>, Error> {
    found.retain(|name| insecure || name.starts_with("https://"));
    if found.is_empty() {
        return Err(Error::Failed(format!(
            "the DNS names members of {domain} without TLS only, and --insecure-discovery is false"
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    /// Priority, weight and target of a record.
    type Srv = (u16, u16, &'static str);
    type Services = &'static [(&'static str, &'static [Srv])];

    /// A name server that knows these services; it ends with the runtime.
    async fn server(services: Services) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let query = request.queries[0].clone();
                let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
                let known = services.iter().find(|(name, _)| query.name().to_utf8() == *name);
                for (priority, weight, target) in known.map_or(&[][..], |(_, records)| records) {
                    let srv = SRV::new(*priority, *weight, 2379, Name::from_utf8(target).unwrap());
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::SRV(srv)));
                }
                if known.is_none() {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_query(query);
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    async fn resolver_of(services: Services) -> TokioResolver {
        let address = server(services).await;
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap()
    }

    #[tokio::test]
    async fn members_are_asked_in_the_order_of_their_records_and_those_with_tls_first() {
        let resolver = resolver_of(&[
            ("_etcd-client._tcp.example.com.", &[(0, 1, "plain.example.com.")]),
            (
                "_etcd-client-ssl._tcp.example.com.",
                &[(2, 0, "c.example.com."), (1, 1, "b.example.com."), (1, 9, "a.example.com.")],
            ),
            ("_etcd-client-east._tcp.example.com.", &[(0, 0, "east.example.com.")]),
        ])
        .await;
        let found = find(&resolver, "example.com", None).await.unwrap();
        let tls = ["a", "b", "c"].map(|host| format!("https://{host}.example.com:2379"));
        assert_eq!(found, [&tls[..], &["http://plain.example.com:2379".to_owned()]].concat());
        assert_eq!(allowed(found, "example.com", false).unwrap(), tls);

        let found = find(&resolver, "example.com.", Some("east")).await.unwrap();
        assert_eq!(found, ["http://east.example.com:2379"]);
        let refused = allowed(found, "example.com", false).unwrap_err();
        assert!(refused.to_string().contains("without TLS only"), "{refused}");

        let refused = find(&resolver, "example.org", None).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the DNS names no member of example.org: no SRV records of _etcd-client-ssl._tcp.example.org.; \
             no SRV records of _etcd-client._tcp.example.org."
        );
    }
}
