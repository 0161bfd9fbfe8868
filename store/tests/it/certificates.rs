//! An authority for tests, and the files it writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use store::{Tls, TlsFiles};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for this machine, for either side.
    pub fn issue(&self, name: &str) -> Issued {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// The files of one side.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        Self { directory: directory.to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        // As careful people do it: never half a file.
        let draft = self.path("draft");
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(draft, self.path(name)).unwrap();
    }

    pub fn issue(&self, issued: &Issued) {
        self.write("key.pem", &issued.key);
        self.write("cert.pem", &issued.cert);
    }

    pub fn trust(&self, authorities: &[&Authority]) {
        self.write("ca.pem", &authorities.iter().map(|authority| authority.pem()).collect::<String>());
    }

    pub fn tls(&self) -> Tls {
        let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| self.path(name));
        Tls::from_files(TlsFiles { cert, key, ca: Some(ca), crl: None }).unwrap()
    }
}

/// How a gRPC client connects.
pub fn client_config(authority: &Authority, own: &Issued) -> ClientTlsConfig {
    let identity = Identity::from_pem(&own.cert, &own.key);
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem())).identity(identity)
}

/// What a new connection is shown.
pub async fn shown(
    address: std::net::SocketAddr,
    authority: &Authority,
    own: &Issued,
) -> CertificateDer<'static> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

pub fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()
}
