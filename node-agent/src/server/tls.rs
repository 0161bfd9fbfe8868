//! Who the server is, and who its callers are.

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use parking_lot::RwLock;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Error, limits, options::ServerTls};

/// The group whose members may do anything.
const MASTERS: &str = "system:masters";
/// The API server when it calls kubelets.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Certificates of the server, read again when they change.
pub struct Identity {
    files: ServerTls,
    current: RwLock<(Stamp, TlsAcceptor)>,
}

type Stamp = [Option<SystemTime>; 3];

impl Identity {
    /// Reads the files.
    pub fn load(files: &ServerTls) -> Result<Self, Error> {
        let current = RwLock::new((stamp(files), acceptor(files)?));
        Ok(Self { files: files.clone(), current })
    }

    /// For the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().1.clone()
    }

    /// Looks at the files now and then until shutdown. Files that do not fit together are not taken.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        let work = async {
            loop {
                tokio::time::sleep(limits::CERTIFICATE_CHECK).await;
                let now = stamp(&self.files);
                if now == self.current.read().0 {
                    continue;
                }
                match acceptor(&self.files) {
                    Ok(acceptor) => {
                        info!("the server has new certificates");
                        *self.current.write() = (now, acceptor);
                    }
                    Err(e) => warn!(error = %e, "new certificates are not usable; the old ones stay"),
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }
}

fn stamp(files: &ServerTls) -> Stamp {
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    [modified(&files.certificate), modified(&files.key), modified(&files.client_ca)]
}

fn acceptor(files: &ServerTls) -> Result<TlsAcceptor, Error> {
    let fault =
        |path: &Path, e: &dyn std::fmt::Display| Error::Certificates(format!("{}: {e}", path.display()));
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Error> {
        let pem = fs::read(path).map_err(|e| fault(path, &e))?;
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| fault(path, &e))
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.client_ca)? {
        roots.add(root).map_err(|e| fault(&files.client_ca, &e))?;
    }
    let pem = fs::read(&files.key).map_err(|e| fault(&files.key, &e))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| fault(&files.key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Callers without a certificate get as far as a 401 that says so.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|e| fault(&files.client_ca, &e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&files.certificate, &e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(|e| fault(&files.certificate, &e))?;
    // Upgrades (exec, attach, port-forward) exist in HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Common name.
    pub user: String,
    /// Organizations.
    pub groups: Vec<String>,
}

impl Caller {
    /// Whether it may use this server.
    pub fn is_allowed(&self) -> bool {
        self.user == API_SERVER || self.groups.iter().any(|g| g == MASTERS)
    }
}

/// The holder of the client certificate, which the handshake has verified.
pub fn caller(stream: &TlsStream<TcpStream>) -> Option<Caller> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    let subject = parsed.subject();
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or("").to_owned();
    Some(Caller {
        user: subject.iter_common_name().next().map(text).unwrap_or_default(),
        groups: subject.iter_organization().map(text).collect(),
    })
}
