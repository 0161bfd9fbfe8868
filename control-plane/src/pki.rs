//! The cluster's keys on disk, shared by its servers.
//!
//! | file | what |
//! |---|---|
//! | `ca.crt`, `ca.key` | the authority of servers, nodes and people: whom the API believes |
//! | `store-ca.crt`, `store-ca.key` | the authority of the store: who may read and write it past the API |
//! | `sa.key` | signs service account tokens |
//!
//! The two authorities are apart because a certificate for the API, with whatever few rights, must never open the store.
//!
//! Everything else is issued when it is needed and renewed while it is used.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use apiserver::{
    Pem,
    pki::{self, Authority, Issued},
};

/// Why keys cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something about a certificate.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// A file.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The keys of one cluster.
pub struct Pki {
    authority: Authority,
    store: Authority,
    signing_key: String,
}

impl Pki {
    /// New keys, not on disk.
    pub fn create() -> Result<Self, Error> {
        Ok(Self {
            authority: Authority::create("kontiki")?,
            store: Authority::create("kontiki-store")?,
            signing_key: pki::signing_key()?,
        })
    }

    /// The keys of a directory; made there first if it holds none.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let (certificate, key, signing) = (dir.join("ca.crt"), dir.join("ca.key"), dir.join("sa.key"));
        let (store_certificate, store_key) = (dir.join("store-ca.crt"), dir.join("store-ca.key"));
        if certificate.exists() {
            let text = std::fs::read_to_string(&signing);
            let signing_key = text.map_err(|source| Error::File { action: "read", path: signing, source })?;
            return Ok(Self {
                authority: Authority::load(&certificate, &key)?,
                store: Authority::load(&store_certificate, &store_key)?,
                signing_key,
            });
        }
        let made = Self::create()?;
        // The certificate comes last: its presence says that the rest is complete.
        crate::local::state::write_private(&signing, made.signing_key.as_bytes()).map_err(
            |why| match why {
                crate::local::Error::File { action, path, source } => Error::File { action, path, source },
                other => Error::File {
                    action: "write",
                    path: signing.clone(),
                    source: std::io::Error::other(other),
                },
            },
        )?;
        made.store.save(&store_certificate, &store_key)?;
        made.authority.save(&certificate, &key)?;
        Ok(made)
    }

    /// The authority's certificate, as PEM.
    pub fn ca(&self) -> &str {
        self.authority.certificate()
    }

    /// The key that signs service account tokens.
    pub fn signing_key(&self) -> Pem {
        Pem::Inline(self.signing_key.clone())
    }

    /// The certificate of the store's authority, as PEM.
    pub fn store_ca(&self) -> &str {
        self.store.certificate()
    }

    /// A certificate for a member of the store, as a server and as a client of the others.
    pub fn store_member(&self, name: &str, addresses: &[IpAddr]) -> Result<Issued, Error> {
        let names = ["localhost".to_owned(), name.to_owned()];
        Ok(self.store.issue_server(&format!("member:{name}"), &[], &names, addresses)?)
    }

    /// A certificate for a client of the store: all rights over the data.
    pub fn store_client(&self, name: &str) -> Result<Issued, Error> {
        Ok(self.store.issue_client(name, &[])?)
    }

    /// A certificate for an API server.
    pub fn server(&self, name: &str, addresses: &[IpAddr], domain: &str) -> Result<Issued, Error> {
        let mut names: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                .map(str::to_owned)
                .to_vec();
        names.push(format!("kubernetes.default.svc.{domain}"));
        names.push(name.to_owned());
        Ok(self.authority.issue_server(&format!("kontiki-server:{name}"), &[], &names, addresses)?)
    }

    /// A certificate for the HTTPS server of a node agent.
    pub fn node_server(&self, node: &str, address: IpAddr) -> Result<Issued, Error> {
        let user = format!("system:node:{node}");
        Ok(self.authority.issue_server(&user, &["system:nodes"], &[node.to_owned()], &[address])?)
    }

    /// A certificate for a client.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Issued, Error> {
        Ok(self.authority.issue_client(user, groups)?)
    }

    /// A kubeconfig with all rights for people, one context per server, the first of them chosen.
    pub fn admin_kubeconfig(&self, servers: &[(String, String)]) -> Result<String, Error> {
        let admin = self.client("kubernetes-admin", &["system:masters"])?;
        Ok(kubeconfig(self.ca(), &admin, servers))
    }
}

/// A kubeconfig for a client certificate, with one context per server; the first is chosen.
pub fn kubeconfig(ca: &str, client: &Issued, servers: &[(String, String)]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = |text: &str| STANDARD.encode(text);
    let cluster = |(name, url): &(String, String)| serde_json::json!({"name": name, "cluster": {"server": url, "certificate-authority-data": encoded(ca)}});
    let context = |(name, _): &(String, String)| serde_json::json!({"name": name, "context": {"cluster": name, "user": "kontiki"}});
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": servers.iter().map(cluster).collect::<Vec<_>>(),
        "contexts": servers.iter().map(context).collect::<Vec<_>>(),
        "current-context": servers.first().map(|(name, _)| name.as_str()).unwrap_or_default(),
        "users": [{"name": "kontiki", "user": {
            "client-certificate-data": encoded(&client.certificate),
            "client-key-data": encoded(&client.key),
        }}],
    });
    // JSON is YAML, and every client reads it.
    serde_json::to_string_pretty(&config).expect("a kubeconfig is plain data") + "\n"
}
