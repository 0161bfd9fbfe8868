//! Asks the servers of a local cluster how they are, as an ordinary client.

use std::{collections::BTreeSet, time::Duration};

use client::grpc::{ClientTls, Remote};
use k8s_openapi::api::core::v1::Node;
use proto::etcd::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{
    Error,
    plan::{Cluster, Server},
    state::Layout,
};
use crate::pki::Pki;

/// Longest a server may take to answer a question about itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Whether it serves.
    pub ready: bool,
    /// Whether it leads the store.
    pub leader: bool,
}

/// An administrator's eye on the cluster.
pub struct Probe {
    http: crate::http::Client,
    tls: ClientTls,
    store: ClientTls,
}

impl Probe {
    /// With a certificate made for the occasion.
    pub fn new(layout: &Layout) -> Result<Self, Error> {
        let failed = |why: &dyn std::fmt::Display| Error::Pki(why.to_string());
        let pki = Pki::open(&layout.pki()).map_err(|why| failed(&why))?;
        let admin = pki.client("kontiki-status", &["system:masters"]).map_err(|why| failed(&why))?;
        let tls = ClientTls {
            ca: pki.ca().as_bytes().to_vec(),
            cert: admin.certificate.clone().into_bytes(),
            key: admin.key.clone().into_bytes(),
        };
        let store = pki.store_client("kontiki-status").map_err(|why| failed(&why))?;
        let store = ClientTls {
            ca: pki.store_ca().as_bytes().to_vec(),
            cert: store.certificate.into_bytes(),
            key: store.key.into_bytes(),
        };
        let http = crate::http::Client::new(&tls).map_err(|why| failed(&why))?;
        Ok(Self { http, tls, store })
    }

    /// What a server says of itself; `None` when it does not answer.
    pub async fn server(&self, server: &Server) -> Option<Answer> {
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.http.get(server.api_port, "/readyz"));
        let ready = asked.await.ok()?.ok()? == 200;
        let leads = tokio::time::timeout(ANSWER_TIMEOUT, self.leads(server));
        Some(Answer { ready, leader: leads.await.is_ok_and(|leads| leads.unwrap_or(false)) })
    }

    /// Whether the server's store member leads, by the etcd API.
    async fn leads(&self, server: &Server) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.store.ca))
            .identity(Identity::from_pem(&self.store.cert, &self.store.key))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", server.etcd_port))?;
        let channel = endpoint.tls_config(tls)?.connect_timeout(ANSWER_TIMEOUT).connect().await?;
        let status = MaintenanceClient::new(channel).status(StatusRequest {}).await?.into_inner();
        let own = status.header.map(|header| header.member_id);
        Ok(status.leader != 0 && own == Some(status.leader))
    }

    /// Names of the nodes that are ready, as far as any server answers.
    pub async fn ready_nodes(&self, cluster: &Cluster) -> BTreeSet<String> {
        let urls: Vec<String> = cluster.servers.iter().map(Server::api_url).collect();
        let Ok(remote) = Remote::connect(&urls, &self.tls) else { return BTreeSet::new() };
        let client = client::Client::new(std::sync::Arc::new(remote));
        let nodes = tokio::time::timeout(ANSWER_TIMEOUT, client.list::<Node>("", "")).await;
        let nodes = nodes.ok().and_then(Result::ok).unwrap_or_default();
        nodes.into_iter().filter(is_ready).filter_map(|node| node.metadata.name).collect()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
