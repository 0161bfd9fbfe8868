//! Routes to the pods of other nodes. Ours carry a protocol number of their own, which is how they are found again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::error::{Error, Result};
use super::thread;

/// Who made a route, as in `/etc/iproute2/rt_protos`; numbers from 128 up are free for programs.
const PROTOCOL: u8 = 177;

/// Makes the routes with our protocol number exactly these.
pub async fn set(peers: &[(IpNet, IpAddr)]) -> Result<()> {
    let peers = peers.to_vec();
    thread::run(None, move |handle| async move {
        let wanted: Vec<_> =
            peers.iter().filter(|(cidr, via)| cidr.addr().is_ipv4() == via.is_ipv4()).collect();
        for route in ours(&handle).await? {
            let stale = destination(&route).is_none_or(|cidr| !wanted.iter().any(|(wish, _)| *wish == cidr));
            if stale {
                handle
                    .route()
                    .del(route)
                    .execute()
                    .await
                    .map_err(Error::netlink("removing a route to a node"))?;
            }
        }
        for (cidr, via) in wanted {
            handle
                .route()
                .add(message(cidr, *via))
                .replace()
                .execute()
                .await
                .map_err(Error::netlink(format!("routing {cidr} to {via}")))?;
        }
        Ok(())
    })
    .await
}

fn message(cidr: &IpNet, via: IpAddr) -> RouteMessage {
    let protocol = RouteProtocol::from(PROTOCOL);
    match (cidr, via) {
        (IpNet::V4(cidr), IpAddr::V4(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(cidr.network(), cidr.prefix_len())
            .gateway(via)
            .protocol(protocol)
            .build(),
        (cidr, via) => {
            let (IpAddr::V6(network), IpAddr::V6(via)) = (cidr.network(), via) else {
                unreachable!("peers of mixed families were filtered out")
            };
            RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network, cidr.prefix_len())
                .gateway(via)
                .protocol(protocol)
                .build()
        }
    }
}

async fn ours(handle: &Handle) -> Result<Vec<RouteMessage>> {
    let mut all = Vec::new();
    let filters =
        [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    for filter in filters {
        let routes = handle.route().get(filter).execute();
        futures::pin_mut!(routes);
        while let Some(route) = routes.try_next().await.map_err(Error::netlink("listing routes"))? {
            if route.header.protocol == RouteProtocol::from(PROTOCOL) {
                all.push(route);
            }
        }
    }
    Ok(all)
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    IpNet::new(address, route.header.destination_prefix_length).ok()
}
