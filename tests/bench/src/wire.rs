//! One lean HTTP/2 client for everything that is measured: requests are bytes that were encoded before.
//!
//! A connection is one TCP socket, with TLS where the server wants it; its requests are multiplexed. Nothing is
//! retried: a failure is part of what is measured.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::limits::WINDOW_BYTES;

/// Proof of who we are, and whom we trust.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    /// From PEM text.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca) {
            roots.add(root.context("reading the authority's certificate")?)?;
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let key = PrivateKeyDer::from_pem_slice(key).context("reading the client's key")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots);
        let mut config =
            config.with_client_auth_cert(chain.context("reading the client's certificate")?, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// Where a server is.
#[derive(Clone)]
pub struct Target {
    /// Its address, on loopback.
    pub address: SocketAddr,
    /// How to prove who we are; plain text when not set.
    pub tls: Option<Tls>,
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    base: Arc<str>,
}

impl Connection {
    /// Connects.
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        let address = target.address;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        match &target.tls {
            None => Self::start(stream, format!("http://{address}")).await,
            Some(Tls(connector)) => {
                let name = ServerName::from(address.ip());
                let stream = connector.connect(name, stream).await;
                let stream = stream.with_context(|| format!("speaking TLS with {address}"))?;
                Self::start(stream, format!("https://{address}")).await
            }
        }
    }

    async fn start<S>(stream: S, base: String) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // Ends when the last clone of the sender is gone; a failure reaches whoever has a request under way.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, base: base.into() })
    }

    /// Sends a request and returns once the head of the answer is there.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        Ok(self.sender.clone().send_request(request).await?)
    }

    /// A request to a path of this server.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.base))
    }

    /// Sends JSON, or nothing, and reads the whole answer; anything but a success is an error.
    pub async fn json(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        self.accepting("application/json", method, path, body).await
    }

    /// As [`Self::json`], with the answer in this media type.
    pub async fn accepting(
        &self,
        accept: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let request = self.request(method, path).header(header::ACCEPT, accept);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let response = self.send(request).await?;
        let status = response.status();
        let body =
            response.into_body().collect().await.with_context(|| format!("reading {path}"))?.to_bytes();
        let text = || String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
        anyhow::ensure!(status.is_success(), "{path}: {status}: {}", text());
        Ok(body)
    }

    /// Whether the server answers in this media type.
    pub async fn serves(&self, accept: &str, path: &str) -> anyhow::Result<bool> {
        let request = self.request(Method::GET, &format!("{path}?limit=1")).header(header::ACCEPT, accept);
        let status = self.send(request.body(Full::new(Bytes::new()))?).await?.status();
        Ok(status != StatusCode::NOT_ACCEPTABLE)
    }
}
