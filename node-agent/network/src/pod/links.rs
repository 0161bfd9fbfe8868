//! The bridge, and the cables between it and pods.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::error::{Error, Result};
use super::ipam::gateway;
use super::options::Options;
use super::thread;

/// What a pod calls its interface.
const POD_INTERFACE: &str = "eth0";

/// The host's end of a pod's cable.
fn host_end(id: &str) -> String {
    format!("kv{}", id.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>())
}

/// The pod's end, as long as it is on the host.
fn pod_end(id: &str) -> String {
    format!("kp{}", id.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>())
}

/// Makes the bridge, with the first address of each CIDR, and lets the host forward.
pub async fn ensure_bridge(options: &Options, cidrs: &[IpNet]) -> Result<()> {
    let (name, mtu, cidrs) = (options.bridge.clone(), options.mtu, cidrs.to_vec());
    let bridge = name.clone();
    thread::run(None, move |handle| async move {
        let index = match find(&handle, &name).await? {
            Some(link) => link.header.index,
            None => {
                handle
                    .link()
                    .add(LinkBridge::new(&name).build())
                    .execute()
                    .await
                    .map_err(Error::netlink(format!("making bridge {name}")))?;
                require(&handle, &name).await?
            }
        };
        let mut change = LinkUnspec::new_with_index(index).up();
        if let Some(mtu) = mtu {
            change = change.mtu(mtu);
        }
        handle
            .link()
            .set(change.build())
            .execute()
            .await
            .map_err(Error::netlink(format!("starting bridge {name}")))?;
        for cidr in &cidrs {
            let address =
                gateway(cidr).ok_or_else(|| Error::Invalid(format!("{cidr} has no first address")))?;
            handle
                .address()
                .add(index, address, cidr.prefix_len())
                .replace()
                .execute()
                .await
                .map_err(Error::netlink(format!("giving {address} to {name}")))?;
        }
        Ok(())
    })
    .await?;
    forward(&bridge)
}

/// Kernel settings of the host for forwarding. A redirect would tell pods to bypass the node's address translation.
fn forward(bridge: &str) -> Result<()> {
    for (name, value) in [
        ("ipv4/ip_forward".to_string(), "1"),
        ("ipv4/conf/all/send_redirects".into(), "0"),
        (format!("ipv4/conf/{bridge}/send_redirects"), "0"),
    ] {
        set(&name, value)?;
    }
    if Path::new("/proc/sys/net/ipv6").exists() {
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(Error::file("setting", path))
}

/// Takes the bridge away.
pub async fn remove_bridge(options: &Options) -> Result<()> {
    delete(options.bridge.clone()).await
}

/// Lays a cable between bridge and pod and gives the pod its addresses. Anything left of an earlier try is replaced.
pub async fn connect(
    options: &Options,
    id: &str,
    namespace: &Path,
    addresses: &[IpAddr],
    cidrs: &[IpNet],
) -> Result<()> {
    disconnect(id).await?;
    let (host, pod, bridge, mtu) = (host_end(id), pod_end(id), options.bridge.clone(), options.mtu);
    let target = File::open(namespace).map_err(Error::file("opening", namespace))?;
    thread::run(None, move |handle| async move {
        lay(&handle, &host, &pod, mtu).await?;
        plug_in(&handle, &host, &bridge).await?;
        let moved = LinkUnspec::new_with_name(&pod).setns_by_fd(target.as_raw_fd()).build();
        handle.link().set(moved).execute().await.map_err(Error::netlink("moving an interface into the pod"))
    })
    .await?;
    let (pod, addresses) = (pod_end(id), addresses.to_vec());
    let gateways: Vec<IpAddr> = cidrs.iter().filter_map(gateway).collect();
    thread::run(Some(namespace), move |handle| async move {
        configure_pod(&handle, &pod, &addresses, &gateways).await
    })
    .await
}

async fn lay(handle: &Handle, host: &str, pod: &str, mtu: Option<u32>) -> Result<()> {
    let mut cable = LinkVeth::new(host, pod);
    if let Some(mtu) = mtu {
        cable = cable.mtu(mtu);
    }
    handle
        .link()
        .add(cable.build())
        .execute()
        .await
        .map_err(Error::netlink(format!("making cable {host}")))?;
    if let Some(mtu) = mtu {
        let change = LinkUnspec::new_with_name(pod).mtu(mtu).build();
        handle.link().set(change).execute().await.map_err(Error::netlink(format!("sizing cable {pod}")))?;
    }
    Ok(())
}

/// Hairpin lets a pod reach itself through its own service address.
async fn plug_in(handle: &Handle, host: &str, bridge: &str) -> Result<()> {
    let controller = require(handle, bridge).await?;
    let port = require(handle, host).await?;
    let change = LinkUnspec::new_with_index(port).controller(controller).up().build();
    handle
        .link()
        .set(change)
        .execute()
        .await
        .map_err(Error::netlink(format!("plugging {host} into {bridge}")))?;
    let hairpin = LinkBridgePort::new(port).hairpin(true).build();
    handle
        .link()
        .set_port(hairpin)
        .execute()
        .await
        .map_err(Error::netlink(format!("allowing hairpin on {host}")))
}

async fn configure_pod(handle: &Handle, pod: &str, addresses: &[IpAddr], gateways: &[IpAddr]) -> Result<()> {
    let loopback = require(handle, "lo").await?;
    let up = LinkUnspec::new_with_index(loopback).up().build();
    handle.link().set(up).execute().await.map_err(Error::netlink("starting loopback"))?;
    let index = require(handle, pod).await?;
    // Nobody else has the address, and a pod should not wait a second to find that out.
    let dad = Path::new("/proc/sys/net/ipv6/conf").join(pod).join("accept_dad");
    if dad.exists() {
        fs::write(&dad, "0").map_err(Error::file("setting", dad))?;
    }
    let change = LinkUnspec::new_with_index(index).name(POD_INTERFACE).build();
    handle.link().set(change).execute().await.map_err(Error::netlink("naming the pod's interface"))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(Error::netlink("starting the pod's interface"))?;
    for address in addresses {
        let host_mask = if address.is_ipv4() { 32 } else { 128 };
        handle
            .address()
            .add(index, *address, host_mask)
            .execute()
            .await
            .map_err(Error::netlink(format!("giving {address} to the pod")))?;
    }
    for gateway in gateways {
        add_default_route(handle, index, *gateway)
            .await
            .map_err(Error::netlink(format!("routing to {gateway}")))?;
    }
    Ok(())
}

/// The gateway is on the link though no prefix says so; everything else is behind it.
async fn add_default_route(
    handle: &Handle,
    index: u32,
    gateway: IpAddr,
) -> std::result::Result<(), rtnetlink::Error> {
    let routes = match gateway {
        IpAddr::V4(gateway) => {
            let new = || RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
            [
                new().destination_prefix(gateway, 32).scope(RouteScope::Link).build(),
                new().gateway(gateway).build(),
            ]
        }
        IpAddr::V6(gateway) => {
            let new = || RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
            [new().destination_prefix(gateway, 128).build(), new().gateway(gateway).build()]
        }
    };
    for route in routes {
        handle.route().add(route).execute().await?;
    }
    Ok(())
}

/// Takes a pod's cable away; the other end vanishes with it.
pub async fn disconnect(id: &str) -> Result<()> {
    delete(host_end(id)).await
}

async fn delete(name: String) -> Result<()> {
    thread::run(None, move |handle| async move {
        match find(&handle, &name).await? {
            Some(link) => match handle.link().del(link.header.index).execute().await {
                Err(error) if !is_gone(&error) => Err(Error::netlink(format!("removing {name}"))(error)),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    })
    .await
}

async fn require(handle: &Handle, name: &str) -> Result<u32> {
    let found = find(handle, name).await?;
    found
        .map(|link| link.header.index)
        .ok_or_else(|| Error::Invalid(format!("network interface {name} vanished")))
}

async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>> {
    let found = {
        let links = handle.link().get().match_name(name.to_string()).execute();
        futures::pin_mut!(links);
        links.try_next().await
    };
    match found {
        Err(error) if is_gone(&error) => Ok(None),
        result => result.map_err(Error::netlink(format!("looking for {name}"))),
    }
}

fn is_gone(error: &rtnetlink::Error) -> bool {
    let gone = [rustix::io::Errno::NODEV, rustix::io::Errno::NXIO].map(|errno| -errno.raw_os_error());
    matches!(error, rtnetlink::Error::NetlinkError(message) if gone.contains(&message.raw_code()))
}
