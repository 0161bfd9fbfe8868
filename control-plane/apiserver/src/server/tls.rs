//! TLS of both sides: the server's own, with optional client certificates, and the client's towards node agents.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::options::{ClientCertificate, Options, Pem};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM text holds nothing usable.
    #[error("the {what} is not valid PEM: {source}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// There is no certificate in the text.
    #[error("the {0} holds no certificate")]
    Empty(&'static str),
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// The authorities cannot be used.
    #[error("the client authorities cannot be used: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// The server's TLS settings; replaced as a whole, so that new connections see certificate and authorities
/// that belong together.
pub struct Reloadable(ArcSwap<ServerConfig>);

impl Reloadable {
    /// Reads the settings.
    pub fn load(options: &Options) -> Result<Self, super::Error> {
        Ok(Self(ArcSwap::new(server_config(options)?)))
    }

    /// Reads them again; on failure the old ones stay.
    pub fn reload(&self, options: &Options) -> Result<(), super::Error> {
        self.0.store(server_config(options)?);
        Ok(())
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(options: &Options) -> Result<Arc<ServerConfig>, super::Error> {
    let certificates = certificates("server certificate", &options.certificate.read()?)?;
    let key = private_key("server key", &options.key.read()?)?;
    let roots = roots(&options.client_ca.read()?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(Error::from)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::from)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(Error::from)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS towards node agents, whose certificates the cluster's authority has issued.
pub fn node_client(client: &ClientCertificate, authority: &Pem) -> Result<Arc<ClientConfig>, super::Error> {
    let certificates = certificates("node client certificate", &client.certificate.read()?)?;
    let key = private_key("node client key", &client.key.read()?)?;
    let roots = roots(&authority.read()?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::from)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .map_err(Error::from)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|source| Error::Pem { what, source })?;
    if all.is_empty() { Err(Error::Empty(what)) } else { Ok(all) }
}

fn private_key(what: &'static str, pem: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| Error::Pem { what, source })
}

fn roots(pem: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client authority", pem)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}
