//! What can be set about the API server.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{authn::Identity, limits};

/// PEM text, given as such or by path. Paths are read again when certificates are reloaded.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pem {
    /// The text.
    Inline(String),
    /// A file.
    Path(PathBuf),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
        }
    }
}

impl Pem {
    /// The text.
    pub fn read(&self) -> Result<String, PemError> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::Path(path) => {
                std::fs::read_to_string(path).map_err(|source| PemError { path: path.clone(), source })
            }
        }
    }
}

impl Default for Pem {
    fn default() -> Self {
        Self::Inline(String::new())
    }
}

/// A PEM file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {path}", path = path.display())]
pub struct PemError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// A bearer token that is known from the start, such as one for joining nodes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticToken {
    /// The secret.
    pub token: String,
    /// Its user.
    pub user: String,
    /// The user's groups; `system:authenticated` is added.
    #[serde(default)]
    pub groups: Vec<String>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("user", &self.user)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

impl StaticToken {
    /// The token with the identity it stands for.
    pub fn identity(&self) -> (String, Identity) {
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        (self.token.clone(), Identity::new(&self.user, &groups))
    }
}

/// A client certificate with its key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// Certificate, with intermediates.
    pub certificate: Pem,
    /// Private key.
    pub key: Pem,
}

/// Options of the API server. Anonymous requests reach health and version only; that cannot be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    /// Where to listen; default all addresses, port 6443.
    pub bind: SocketAddr,
    /// Server certificate, with intermediates.
    pub certificate: Pem,
    /// Its private key.
    pub key: Pem,
    /// Authorities whose client certificates are believed; also those of the node agents' certificates.
    pub client_ca: Pem,
    /// Private keys of service account tokens; the first signs, all verify. Without any there are no tokens.
    pub service_account_keys: Vec<Pem>,
    /// Name of the issuer of service account tokens; default `https://kubernetes.default.svc.cluster.local`.
    pub service_account_issuer: String,
    /// Audiences that tokens for the API itself name; default the issuer.
    pub api_audiences: Vec<String>,
    /// Shown to node agents. Without it logs, exec, attach and port-forward are unavailable.
    pub node_client: Option<ClientCertificate>,
    /// Bearer tokens known from the start.
    pub tokens: Vec<StaticToken>,
    /// Short reads under way at once.
    pub reads_max: usize,
    /// Short writes under way at once.
    pub writes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([0, 0, 0, 0], 6443)),
            certificate: Pem::default(),
            key: Pem::default(),
            client_ca: Pem::default(),
            service_account_keys: Vec::new(),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            api_audiences: Vec::new(),
            node_client: None,
            tokens: Vec::new(),
            reads_max: limits::READS_MAX,
            writes_max: limits::WRITES_MAX,
        }
    }
}

impl Options {
    /// Checks what can be checked without reading files.
    pub fn validate(&self) -> Result<(), String> {
        if self.reads_max == 0 || self.writes_max == 0 {
            return Err("readsMax and writesMax must be at least 1".into());
        }
        if !self.service_account_issuer.starts_with("https://") {
            return Err("serviceAccountIssuer must be an https URL".into());
        }
        if self.tokens.iter().any(|t| t.token.len() < 16 || t.user.is_empty()) {
            return Err("tokens: each needs a user and at least 16 characters".into());
        }
        Ok(())
    }
}
