//! A small HTTPS client for questions to servers of this machine.

use std::sync::Arc;

use client::grpc::ClientTls;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or certificates cannot be used.
    #[error("cannot use the certificates: {0}")]
    Tls(String),
    /// The server was not reached or broke off.
    #[error("cannot reach the server on port {port}: {why}")]
    Connection {
        /// Its port.
        port: u16,
        /// What went wrong.
        why: String,
    },
}

/// Connects anew for every question.
pub struct Client {
    tls: tokio_rustls::TlsConnector,
}

impl Client {
    /// A client with this identity that believes this authority.
    pub fn new(tls: &ClientTls) -> Result<Self, Error> {
        let bad = |why: &dyn std::fmt::Display| Error::Tls(why.to_string());
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&tls.ca) {
            roots.add(certificate.map_err(|why| bad(&why))?).map_err(|why| bad(&why))?;
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&tls.cert).collect();
        let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|why| bad(&why))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| bad(&why))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.map_err(|why| bad(&why))?, key)
            .map_err(|why| bad(&why))?;
        Ok(Self { tls: Arc::new(config).into() })
    }

    /// Status code of `GET https://127.0.0.1:<port><path>`.
    pub async fn get(&self, port: u16, path: &str) -> Result<u16, Error> {
        let failed = |why: &dyn std::fmt::Display| Error::Connection { port, why: why.to_string() };
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(|why| failed(&why))?;
        let name = ServerName::try_from("localhost").expect("a constant that is a name");
        let tls = self.tls.connect(name, tcp).await.map_err(|why| failed(&why))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|why| failed(&why))?;
        let request = http::Request::get(path)
            .header("host", "localhost")
            .header("connection", "close")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|why| failed(&why))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|why| failed(&why))?;
            let status = response.status().as_u16();
            Ok(status)
        };
        tokio::pin!(exchange);
        // The connection must be driven while the answer is awaited.
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            _ = connection => {}
        }
        exchange.await
    }
}
