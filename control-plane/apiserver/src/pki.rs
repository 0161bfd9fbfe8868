//! The cluster's own certificate authority: makes it, and issues certificates with it. Keys are ECDSA P-256.

use std::{net::IpAddr, path::Path, time::Duration};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use x509_parser::{pem::parse_x509_pem, prelude::X509Certificate};

/// Lifetime of an authority: ten years, as kubeadm's.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Lifetime of an issued certificate: a year, renewed by [`needs_renewal`] long before.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// Certificates begin to be valid this long before they are made, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// Object identifier of the attribute "organization" of a subject.
const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

/// Why something cannot be issued or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making a key or certificate.
    #[error("making {what}")]
    Make {
        /// What was made.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate carries at most two groups.
    #[error("{0} groups do not fit in a certificate")]
    Groups(usize),
    /// A certificate that cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Read(String),
    /// A file of the authority.
    #[error("{action} {path}", path = path.display())]
    File {
        /// Reading or writing.
        action: &'static str,
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

fn make(what: &'static str) -> impl FnOnce(rcgen::Error) -> Error {
    move |source| Error::Make { what, source }
}

/// A certificate with its private key, both as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key in PKCS #8.
    pub key: String,
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes a new authority with this common name.
    pub fn create(name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(make("the key of the authority"))?;
        let mut params = params(name, &[], AUTHORITY_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(make("the authority"))?;
        let (certificate, key_pem) = (certificate.pem(), key.serialize_pem());
        Ok(Self { issuer: Issuer::new(params, key), certificate, key: key_pem })
    }

    /// Takes up an authority from its PEM texts.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let pair = KeyPair::from_pem(key).map_err(make("the authority from its key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair)
            .map_err(make("the authority from its certificate"))?;
        Ok(Self { issuer, certificate: certificate.to_owned(), key: key.to_owned() })
    }

    /// Reads an authority from two files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| Error::File {
                action: "reading",
                path: path.into(),
                source,
            })
        };
        Self::from_pem(&read(certificate)?, &read(key)?)
    }

    /// Writes the authority to two files; the key is readable by its owner only.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        write(certificate, &self.certificate, 0o644)?;
        write(key, &self.key, 0o600)
    }

    /// The authority's own certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's key as PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for a server reachable under these names and addresses; it may also act as a client.
    pub fn issue_server(
        &self,
        name: &str,
        groups: &[&str],
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Issued, Error> {
        let mut params = params(name, groups, LEAF_LIFETIME)?;
        for name in names {
            let name = name.as_str().try_into().map_err(make("a name of the server"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// A certificate for a client: `user` with `groups`.
    pub fn issue_client(&self, user: &str, groups: &[&str]) -> Result<Issued, Error> {
        let mut params = params(user, groups, LEAF_LIFETIME)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, Error> {
        let key = KeyPair::generate().map_err(make("a key"))?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let certificate: Certificate = params.signed_by(&key, &self.issuer).map_err(make("a certificate"))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Issued {
    /// Writes certificate and key to two files; the key is readable by its owner only.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        write(certificate, &self.certificate, 0o644)?;
        write(key, &self.key, 0o600)
    }
}

fn params(name: &str, groups: &[&str], lifetime: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(make("a certificate"))?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    // A subject of the issuing crate holds one value per attribute name; the second group takes the same attribute
    // by its number.
    let names = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
    if groups.len() > names.len() {
        return Err(Error::Groups(groups.len()));
    }
    for (name, group) in names.into_iter().zip(groups) {
        subject.push(name, *group);
    }
    params.distinguished_name = subject;
    let now = Duration::from_secs(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + lifetime;
    params.serial_number = Some(serial());
    Ok(params)
}

fn serial() -> SerialNumber {
    let mut bytes = *uuid::Uuid::new_v4().as_bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Creates the file with its mode from the start, so that a key is never readable by others.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let file = |source| Error::File { action: "writing", path: path.into(), source };
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(mode).open(&beside).map_err(file)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(file)?;
    std::fs::rename(&beside, path).map_err(file)
}

/// A private key for service account tokens, as PEM.
pub fn signing_key() -> Result<String, Error> {
    Ok(KeyPair::generate().map_err(make("a signing key"))?.serialize_pem())
}

/// Whether less than a third of a certificate's lifetime is left at `now`, or it is not valid at all.
pub fn needs_renewal(certificate_pem: &str, now: jiff::Timestamp) -> Result<bool, Error> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).map_err(|e| Error::Read(e.to_string()))?;
    let certificate: X509Certificate<'_> = pem.parse_x509().map_err(|e| Error::Read(e.to_string()))?;
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok(now.as_second() < from || to - now.as_second() < (to - from) / 3)
}

/// A kubeconfig that reaches `server` (an HTTPS URL) as the user of a client certificate.
pub fn kubeconfig(name: &str, server: &str, authority_pem: &str, client: &Issued) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let (authority, certificate, key) =
        (STANDARD.encode(authority_pem), STANDARD.encode(&client.certificate), STANDARD.encode(&client.key));
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
         users:\n- name: {name}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\ncurrent-context: {name}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_days(days: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + days * 86_400).unwrap()
    }

    #[test]
    fn a_client_certificate_names_its_user_and_groups() {
        let issued = Authority::create("test").unwrap().issue_client("ann", &["dev", "ops"]).unwrap();
        let (_, pem) = parse_x509_pem(issued.certificate.as_bytes()).unwrap();
        let who = crate::authn::x509::identity(&pem.contents).unwrap();
        assert_eq!(
            (who.caller.user.as_str(), &who.caller.groups[..2]),
            ("ann", &["dev".to_owned(), "ops".to_owned()][..])
        );
    }

    #[test]
    fn certificates_are_renewed_in_the_last_third_of_their_life() {
        let issued = Authority::create("test").unwrap().issue_client("ann", &[]).unwrap();
        assert!(!needs_renewal(&issued.certificate, after_days(0)).unwrap());
        assert!(!needs_renewal(&issued.certificate, after_days(240)).unwrap());
        assert!(needs_renewal(&issued.certificate, after_days(250)).unwrap());
        assert!(needs_renewal(&issued.certificate, after_days(400)).unwrap());
        assert!(needs_renewal("nonsense", after_days(0)).is_err());
    }

    #[test]
    fn an_authority_survives_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("ca.crt"), directory.path().join("ca.key"));
        Authority::create("test").unwrap().save(&certificate, &key).unwrap();
        let again = Authority::load(&certificate, &key).unwrap();
        assert!(again.issue_server("s", &[], &["localhost".into()], &[[127, 0, 0, 1].into()]).is_ok());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
