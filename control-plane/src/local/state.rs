//! The directory of a local cluster.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    Error,
    plan::{self, Cluster},
};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below a directory, which need not exist.
    pub fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the cluster consists of.
    pub fn cluster_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Keys and certificates shared by the servers.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// For people.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Archives every agent imports when it starts.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// One server's directory.
    pub fn server(&self, name: &str) -> PathBuf {
        self.root.join("servers").join(name)
    }

    /// One agent's directory.
    pub fn agent(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(name)
    }

    /// Whether there is a cluster.
    pub fn exists(&self) -> bool {
        self.cluster_file().exists()
    }

    /// Reads what the cluster consists of.
    pub fn read(&self) -> Result<Cluster, Error> {
        let path = self.cluster_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoCluster { dir: self.root.clone() });
            }
            Err(source) => return Err(Error::File { action: "read", path, source }),
        };
        let cluster: Cluster = match serde_json::from_slice(&text) {
            Ok(cluster) => cluster,
            Err(why) => return Err(Error::State { path, why: why.to_string() }),
        };
        if cluster.format != plan::FORMAT {
            let why = format!("it has format {}, this version reads {}", cluster.format, plan::FORMAT);
            return Err(Error::State { path, why });
        }
        Ok(cluster)
    }

    /// Writes what the cluster consists of.
    pub fn write(&self, cluster: &Cluster) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(cluster).expect("a cluster is plain data");
        write_private(&self.cluster_file(), &text)
    }
}

/// Makes a directory and its parents, readable by the owner only.
pub fn make_dir(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::File { action: "make directory", path: path.to_owned(), source })
}

/// Replaces a file atomically, readable by the owner only.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}
