//! Certificates and keys of a listener, read again when their files change.
//!
//! As etcd does, every handshake looks at the files; connections that are open go on with what they were opened with. Files
//! that cannot be used are reported once, and the keys in use stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use raft::PeerTls;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Error;
use crate::limits::KEYS_READ_PATIENCE;

/// Keys and certificates, all PEM.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// This side's certificate chain.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// Authorities whose certificates the other side may present. On a listener, `Some` makes a client certificate
    /// mandatory. Peers always need one.
    pub ca_pem: Option<String>,
    /// Certificates of clients that were revoked before their time.
    pub crl_pem: Option<String>,
    /// Where all this was read from. It is read again when the files change; without, it stays as it is.
    pub files: Option<TlsFiles>,
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// This side's certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of the other side.
    pub ca: Option<PathBuf>,
    /// Revoked certificates of the other side.
    pub crl: Option<PathBuf>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Tls");
        shown.field("client_certificates", &self.ca_pem.is_some()).field("files", &self.files);
        shown.finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads files now and whenever they change.
    pub fn from_files(files: TlsFiles) -> Result<Self, Error> {
        read(&files).map_err(|detail| Error::Tls { detail })
    }

    /// What the files hold now; if they cannot be read, what they held.
    pub(crate) fn newest(&self) -> Self {
        self.files.as_ref().and_then(|files| read(files).ok()).unwrap_or_else(|| self.clone())
    }

    fn for_peers(&self) -> PeerTls {
        PeerTls {
            ca_pem: self.ca_pem.clone().unwrap_or_default().into_bytes(),
            cert_pem: self.cert_pem.clone().into_bytes(),
            key_pem: self.key_pem.clone().into_bytes(),
        }
    }
}

fn read(files: &TlsFiles) -> Result<Tls, String> {
    let text = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(Tls {
        cert_pem: text(&files.cert)?,
        key_pem: text(&files.key)?,
        ca_pem: files.ca.as_ref().map(text).transpose()?,
        crl_pem: files.crl.as_ref().map(text).transpose()?,
        files: Some(files.clone()),
    })
}

/// What a look at the files brought.
#[derive(Debug, PartialEq, Eq)]
enum Renewal {
    Unchanged,
    Renewed,
}

/// The keys in use. Shared by all listeners of one kind.
pub struct Keys {
    files: Option<TlsFiles>,
    /// What was read last, usable or not.
    seen: Mutex<Result<Tls, String>>,
    listener: ArcSwap<ServerConfig>,
    peers: watch::Sender<PeerTls>,
}

impl Keys {
    /// Refuses what cannot be used.
    pub fn new(tls: &Tls) -> Result<Arc<Self>, Error> {
        let listener = listener(tls).map_err(|detail| Error::Tls { detail })?;
        Ok(Arc::new(Self {
            files: tls.files.clone(),
            seen: Mutex::new(Ok(tls.clone())),
            listener: ArcSwap::from(listener),
            peers: watch::Sender::new(tls.for_peers()),
        }))
    }

    /// What a handshake goes by, files looked at. While they cannot be looked at, it is what was there before.
    pub async fn listener(self: &Arc<Self>) -> Arc<ServerConfig> {
        self.look().await;
        self.listener.load_full()
    }

    /// Looks whether the files have changed.
    pub async fn look(self: &Arc<Self>) {
        if self.files.is_none() {
            return;
        }
        let keys = self.clone();
        // A disk that hangs holds up one thread, and no handshake for long.
        let looking = tokio::task::spawn_blocking(move || keys.look_now());
        drop(tokio::time::timeout(KEYS_READ_PATIENCE, looking).await);
    }

    fn look_now(&self) {
        let Some(files) = &self.files else { return };
        let cert = files.cert.display();
        match self.renew(files) {
            Ok(Renewal::Unchanged) => {}
            Ok(Renewal::Renewed) => tracing::info!(%cert, "new connections use the new certificate"),
            Err(error) => {
                tracing::error!(%cert, %error, "the new certificate cannot be used; the one before stays");
            }
        }
    }

    /// The keys for calls to peers, now and from now on.
    pub fn peers(&self) -> watch::Receiver<PeerTls> {
        self.peers.subscribe()
    }

    /// An error is returned when it is found, and not again until the files change.
    fn renew(&self, files: &TlsFiles) -> Result<Renewal, String> {
        let Some(mut seen) = self.seen.try_lock_for(KEYS_READ_PATIENCE) else {
            return Ok(Renewal::Unchanged);
        };
        let found = read(files);
        if *seen == found {
            return Ok(Renewal::Unchanged);
        }
        *seen = found.clone();
        let tls = found?;
        self.listener.store(listener(&tls)?);
        self.peers.send_replace(tls.for_peers());
        Ok(Renewal::Renewed)
    }

    /// Looks every now and then, because a member that only calls others shakes nobody's hand.
    pub async fn watch(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            self.look().await;
        }
    }
}

/// How a listener greets, TLS 1.2 or newer.
fn listener(tls: &Tls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match &tls.ca_pem {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut verifier = WebPkiClientVerifier::builder_with_provider(authorities(ca)?.into(), provider);
            if let Some(crl) = &tls.crl_pem {
                let lists: Result<Vec<_>, _> =
                    CertificateRevocationListDer::pem_slice_iter(crl.as_bytes()).collect();
                let lists = lists.map_err(|error| format!("revoked certificates: {error}"))?;
                verifier = verifier
                    .with_crls(lists)
                    .only_check_end_entity_revocation()
                    .allow_unknown_revocation_status();
            }
            let verifier = verifier.build().map_err(|error| format!("authorities: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = identity(tls.cert_pem.as_bytes(), tls.key_pem.as_bytes())?;
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| format!("certificate and key: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Who this side is (PEM).
pub(crate) fn identity(
    cert_pem: &[u8],
    key_pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert_pem).collect();
    let chain = chain.map_err(|error| format!("certificate: {error}"))?;
    if chain.is_empty() {
        return Err("certificate: there is none".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| format!("key: {error}"))?;
    Ok((chain, key))
}

fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let authority = authority.map_err(|error| format!("authorities: {error}"))?;
        roots.add(authority).map_err(|error| format!("authorities: {error}"))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn what_cannot_be_used_is_reported_once_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let files = TlsFiles { cert: path("cert"), key: path("key"), ..TlsFiles::default() };
        let write = || {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(path("cert"), cert.pem()).unwrap();
            std::fs::write(path("key"), signing_key.serialize_pem()).unwrap();
        };
        write();
        let keys = Keys::new(&Tls::from_files(files.clone()).unwrap()).unwrap();
        let first = keys.listener.load_full();
        assert_eq!(keys.renew(&files), Ok(Renewal::Unchanged));
        let stays = |break_it: &dyn Fn()| {
            break_it();
            assert!(keys.renew(&files).is_err(), "said");
            assert_eq!(keys.renew(&files), Ok(Renewal::Unchanged), "said once");
            assert!(Arc::ptr_eq(&first, &keys.listener.load()));
        };
        let whole = std::fs::read_to_string(path("cert")).unwrap();
        stays(&|| std::fs::write(path("cert"), &whole[..whole.len() / 2]).unwrap());
        stays(&|| std::fs::write(path("cert"), "").unwrap());
        stays(&|| std::fs::remove_file(path("cert")).unwrap());
        let other_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(path("cert"), &whole).unwrap();
        stays(&|| std::fs::write(path("key"), &other_key).unwrap());
        write();
        assert_eq!(keys.renew(&files), Ok(Renewal::Renewed));
        assert!(!Arc::ptr_eq(&first, &keys.listener.load()));
    }
}
