//! A whole API server on port 0 over in-memory storage, and a small HTTPS client to talk to it.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod node;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kontiki_apiserver::{ClientCertificate, Handle, Options, Pem, Server, StaticToken, pki};
use registry::Registry;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use store_client::memory::MemoryKv;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub authority: pki::Authority,
    pub address: SocketAddr,
    pub handle: Handle,
    pub registry: Registry,
    _stop: DropGuard,
}

/// Token of the user `ann`, who has no rights of her own.
pub const ANN: &str = "token-of-ann-0123456789";

impl Cluster {
    pub async fn start() -> Self {
        let authority = pki::Authority::create("test").unwrap();
        let server = authority
            .issue_server("kube-apiserver", &[], &["localhost".into()], &[[127, 0, 0, 1].into()])
            .unwrap();
        let nodes = authority.issue_client("kube-apiserver-kubelet-client", &["system:masters"]).unwrap();
        let options = Options {
            bind: ([127, 0, 0, 1], 0).into(),
            certificate: Pem::Inline(server.certificate),
            key: Pem::Inline(server.key),
            client_ca: Pem::Inline(authority.certificate().into()),
            service_account_keys: vec![Pem::Inline(pki::signing_key().unwrap())],
            node_client: Some(ClientCertificate {
                certificate: Pem::Inline(nodes.certificate),
                key: Pem::Inline(nodes.key),
            }),
            tokens: vec![StaticToken { token: ANN.into(), user: "ann".into(), groups: vec!["dev".into()] }],
            ..Options::default()
        };
        let shutdown = CancellationToken::new();
        let kv = Arc::new(MemoryKv::new());
        let registry = Registry::start(kv, registry::Options::default(), shutdown.clone()).await.unwrap();
        let server = Server::bind(options, registry.clone()).await.unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        tokio::spawn(server.run(shutdown.clone()));
        tokio::time::timeout(DEADLINE, handle.ready()).await.expect("ready in time").unwrap();
        registry::bootstrap::ensure(&registry).await.unwrap();
        Self { authority, address, handle, registry, _stop: shutdown.drop_guard() }
    }

    pub async fn admin(&self) -> Client {
        self.as_user("admin", &["system:masters"]).await
    }

    pub async fn as_user(&self, user: &str, groups: &[&str]) -> Client {
        let issued = self.authority.issue_client(user, groups).unwrap();
        Client::connect(self, Some(&issued)).await
    }

    pub async fn without_certificate(&self) -> Client {
        Client::connect(self, None).await
    }
}

/// One HTTP/1.1 connection.
pub struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    pub headers: Vec<(&'static str, String)>,
}

pub struct Answer {
    pub code: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    async fn connect(cluster: &Cluster, client: Option<&pki::Issued>) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(cluster.authority.certificate().as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = tokio::net::TcpStream::connect(cluster.address).await.unwrap();
        let name = ServerName::IpAddress(cluster.address.ip().into());
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self { sender, headers: Vec::new() }
    }

    /// Adds a header to all further requests.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<Bytes>,
    ) -> http::Response<hyper::body::Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.sender.ready().await.unwrap();
        tokio::time::timeout(DEADLINE, self.sender.send_request(request))
            .await
            .expect("an answer in time")
            .unwrap()
    }

    pub async fn send(&mut self, method: Method, path: &str, media: &str, body: impl Into<Bytes>) -> Answer {
        let response = self.open(method, path, media, body).await;
        let (parts, body) = response.into_parts();
        let body =
            tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body in time").unwrap().to_bytes();
        Answer { code: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "", "").await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    pub async fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body.to_string()).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "", "").await
    }
}

/// Tries until `condition` holds.
pub async fn wait_for<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let attempts = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, attempts).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
