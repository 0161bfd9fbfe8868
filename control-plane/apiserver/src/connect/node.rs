//! The way to a node agent: its address, and a connection that proves both sides.

use std::{net::IpAddr, sync::Arc};

use api::{GroupVersionResource, Status, objects::Target};
use http::Request;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use registry::Registry;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use crate::{limits, reply::Body};

/// Connects to node agents.
pub struct NodeClient {
    tls: Option<Arc<ClientConfig>>,
    tasks: TaskTracker,
}

/// Where a node agent listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `InternalIP` of the node.
    pub ip: IpAddr,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`.
    pub port: u16,
}

impl NodeClient {
    /// Without TLS settings every connection is refused. Connections are driven by `tasks`.
    pub fn new(tls: Option<Arc<ClientConfig>>, tasks: TaskTracker) -> Self {
        Self { tls, tasks }
    }

    /// A connection to a node agent over mutual TLS.
    pub async fn connect(&self, address: Address) -> Result<SendRequest<Body>, Status> {
        let tls = self
            .tls
            .clone()
            .ok_or_else(|| Status::unavailable("this server has no credentials for nodes"))?;
        let failed = |why: String| unreachable(&address.ip.to_string(), address.port, &why);
        let open = async {
            let stream = tcp(address.ip, address.port).await?;
            let name = ServerName::IpAddress(address.ip.into());
            TlsConnector::from(tls).connect(name, stream).await
        };
        let stream = within(open).await.map_err(failed)?;
        self.handshake(stream).await
    }

    /// A plain connection to a pod.
    pub async fn connect_plain(&self, ip: IpAddr, port: u16) -> Result<SendRequest<Body>, Status> {
        let stream = within(tcp(ip, port)).await.map_err(|why| unreachable(&ip.to_string(), port, &why))?;
        self.handshake(stream).await
    }

    async fn handshake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<SendRequest<Body>, Status> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Status::unavailable(format!("error dialing backend: {e}")))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a node ended");
            }
        });
        Ok(sender)
    }
}

async fn tcp(ip: IpAddr, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((ip, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn within<T>(open: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(limits::NODE_CONNECT_TIMEOUT, open).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("i/o timeout".into()),
    }
}

fn unreachable(host: &str, port: u16, why: &str) -> Status {
    Status::internal(format!("error dialing backend: dial tcp {host}:{port}: {why}"))
}

/// Sends a request and waits for the head of the answer.
pub async fn send(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, Status> {
    sender.send_request(request).await.map_err(|e| Status::internal(format!("error sending request: {e}")))
}

/// Where the agent of a node listens.
pub async fn locate(registry: &Registry, node: &str) -> Result<Address, Status> {
    let target = Target::new(GroupVersionResource::new("", "v1", "nodes"), "", node);
    let json = registry.get(&target, "0").await?;
    let node: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
    address(&node).ok_or_else(|| Status::unavailable("the node has not told where its agent listens"))
}

fn address(node: &Value) -> Option<Address> {
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let of = |kind: &str| {
        let found = addresses.iter().find(|a| a.get("type").and_then(Value::as_str) == Some(kind))?;
        found.get("address")?.as_str()?.parse().ok()
    };
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port")?.as_u64()?;
    Some(Address { ip: of("InternalIP").or_else(|| of("ExternalIP"))?, port: u16::try_from(port).ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_comes_from_the_nodes_status() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.5"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        assert_eq!(address(&node), Some(Address { ip: [10, 0, 0, 5].into(), port: 10250 }));
        assert_eq!(address(&json!({"status": {}})), None);
    }
}
