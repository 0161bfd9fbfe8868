//! The directory of images.
//!
//! ```text
//! <root>/images.json            the catalogue: which images exist, under which names
//! <root>/documents/<hex>        manifests and configurations, by sha256
//! <root>/layers/<16 hex>/       one unpacked layer, stackable by overlayfs
//! <root>/layers/<16 hex>.json   written last: the layer is complete
//! <root>/work/                  what is being imported; emptied at start
//! ```
//!
//! A layer is named by its chain id, which depends on every layer below it, so equal names mean equal
//! content. Compressed layers are not kept: everything a container needs is in the unpacked form. A crash leaves a
//! directory without its `.json`, or a layer that no image names; both are swept at the next start. Flushing a large layer
//! can take long on a busy disk, so it happens behind the import's back: until then the layer's record names the
//! boot in which it was unpacked, and after a power cut such layers, and their images, are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::{Defaults, ImageConfig, Manifest};
use super::reference::{Reference, is_digest};
use super::unpack;
use crate::error::{Error, Result};
use crate::limits::IMAGE_LAYERS_MAX;
use crate::sys::files::{self, Durability};

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its configuration: what Kubernetes calls the image id.
    pub id: String,
    /// `registry/repository:tag` names that mean it.
    pub tags: BTreeSet<String>,
    /// `registry/repository@digest` names that mean it.
    pub digests: BTreeSet<String>,
    /// Bytes of its layers, uncompressed.
    pub size: u64,
    /// Its layer directories, the lowest first.
    pub layers: Vec<String>,
    /// How its containers are started.
    pub defaults: Defaults,
}

/// A complete layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LayerRecord {
    chain_id: String,
    diff_id: String,
    bytes: u64,
    /// The boot in which it was unpacked, until it is known to be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unflushed_in: Option<String>,
}

/// The images of one runtime. Blocking: call it off the async threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    catalogue: Mutex<BTreeMap<String, Image>>,
    /// Held while layers are added or swept, so that a sweep never takes a layer whose image is on its way.
    layers: Arc<Mutex<()>>,
}

/// Where bytes of a layer come from.
pub type LayerSource<'a> = Box<dyn Read + Send + 'a>;

impl Store {
    /// Opens the directory, creating it if needed, and sweeps what a crash left.
    pub fn open(root: PathBuf) -> Result<Self> {
        for directory in ["documents", "layers", "work"] {
            files::create_private_dir(&root.join(directory))?;
        }
        let path = root.join("images.json");
        let images: Vec<Image> = if path.exists() { files::read_json(&path)? } else { Vec::new() };
        let catalogue = images.into_iter().map(|image| (image.id.clone(), image)).collect();
        let store = Self { root, catalogue: Mutex::new(catalogue), layers: Arc::default() };
        store.empty_work()?;
        store.forget_unflushed()?;
        Ok(store)
    }

    /// After a power cut: layers that may be incomplete, and the images made of them.
    fn forget_unflushed(&self) -> Result<()> {
        let boot = boot_id();
        let directory = self.layers_dir();
        let mut lost = BTreeSet::new();
        for path in records(&directory)? {
            let record = files::read_json::<LayerRecord>(&path);
            let complete = record.is_ok_and(|record| record.unflushed_in.is_none_or(|other| other == boot));
            if !complete {
                files::remove_all(&path)?;
                files::remove_all(&path.with_extension(""))?;
                lost.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        let mut catalogue = self.catalogue.lock();
        catalogue.retain(|_, image| !image.layers.iter().any(|layer| lost.contains(layer)));
        self.save(&catalogue)
    }

    fn empty_work(&self) -> Result<()> {
        let work = self.root.join("work");
        files::remove_all(&work)?;
        files::create_private_dir(&work)
    }

    /// A fresh directory for something being imported; removed when dropped.
    pub fn work_dir(&self) -> Result<WorkDir> {
        let path = self.root.join("work").join(uuid::Uuid::new_v4().simple().to_string());
        files::create_private_dir(&path)?;
        Ok(WorkDir { path })
    }

    /// Directory that an image's layer names are relative to.
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        self.catalogue.lock().values().cloned().collect()
    }

    /// Finds an image by id, by the start of an id, or by any of its names.
    pub fn find(&self, name: &str) -> Option<Image> {
        let catalogue = self.catalogue.lock();
        if let Some(image) = catalogue.get(name).or_else(|| catalogue.get(&format!("sha256:{name}"))) {
            return Some(image.clone());
        }
        let by_name = Reference::parse(name).ok().and_then(|reference| {
            let digest = reference.digest.as_ref().map(|digest| reference.at(digest));
            let tag = if digest.is_none() { reference.tagged() } else { None };
            catalogue.values().find(|image| {
                digest.as_ref().is_some_and(|name| image.digests.contains(name))
                    || tag.as_ref().is_some_and(|name| image.tags.contains(name))
            })
        });
        by_name.or_else(|| by_prefix(&catalogue, name)).cloned()
    }

    /// The file system of an image for reading single files, the topmost layer first.
    pub fn layer_paths(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().rev().map(|name| self.layers_dir().join(name)).collect()
    }

    /// Adds an image from its documents; `layer` is asked for the bytes of each layer that is not here yet. `names`
    /// move to this image from whichever had them.
    pub fn add<'a>(
        &self,
        manifest_bytes: &[u8],
        config_bytes: &[u8],
        names: &[Reference],
        layer: impl Fn(usize) -> Result<LayerSource<'a>>,
    ) -> Result<Image> {
        let config: ImageConfig =
            serde_json::from_slice(config_bytes).map_err(Error::parse("image configuration"))?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.is_empty()
            || diff_ids.len() > IMAGE_LAYERS_MAX
            || !diff_ids.iter().all(|id| is_digest(id))
        {
            return Err(Error::Image(format!(
                "image has {} layers or malformed layer digests",
                diff_ids.len()
            )));
        }
        let _adding = self.layers.lock();
        let (mut layers, mut size, mut chain) = (Vec::new(), 0, None::<String>);
        for (position, diff_id) in diff_ids.iter().enumerate() {
            let chain_id = chain_id(chain.as_deref(), diff_id);
            size += self.ensure_layer(&chain_id, diff_id, || layer(position))?;
            layers.push(directory_name(&chain_id));
            chain = Some(chain_id);
        }
        self.flush_behind();
        self.save_document(manifest_bytes)?;
        let id = self.save_document(config_bytes)?;
        let manifest_digest = digest_of(manifest_bytes);
        let image = Image {
            id,
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            size,
            layers,
            defaults: config.config,
        };
        self.name(image, &manifest_digest, names)
    }

    fn ensure_layer<'a>(
        &self,
        chain_id: &str,
        diff_id: &str,
        source: impl FnOnce() -> Result<LayerSource<'a>>,
    ) -> Result<u64> {
        let directory = self.layers_dir().join(directory_name(chain_id));
        let record_path = directory.with_extension("json");
        if record_path.exists() {
            return Ok(files::read_json::<LayerRecord>(&record_path)?.bytes);
        }
        files::remove_all(&directory)?;
        fs::create_dir(&directory).map_err(Error::file("creating", &directory))?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&directory, open).map_err(Error::file("opening", &directory))?;
        let unpacked = unpack::unpack(source()?, &directory)?;
        if unpacked.diff_id != diff_id {
            files::remove_all(&directory)?;
            return Err(Error::Image(format!("layer is {} but should be {diff_id}", unpacked.diff_id)));
        }
        let record = LayerRecord {
            chain_id: chain_id.into(),
            diff_id: diff_id.into(),
            bytes: unpacked.bytes,
            unflushed_in: Some(boot_id()),
        };
        files::write_json(&record_path, &record)?;
        Ok(record.bytes)
    }

    /// Brings layers to disk and then says so in their records, on a thread of its own.
    fn flush_behind(&self) {
        let (directory, lock) = (self.layers_dir(), self.layers.clone());
        let flush = move || {
            if let Err(error) = flush(&directory, &lock) {
                tracing::warn!(error = error.chain(), "unpacked layers are not known to be on disk");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("flush-layers".into()).spawn(flush) {
            tracing::warn!(%error, "unpacked layers are not known to be on disk");
        }
    }

    fn save_document(&self, bytes: &[u8]) -> Result<String> {
        let digest = digest_of(bytes);
        let path = self.root.join("documents").join(digest.trim_start_matches("sha256:"));
        files::write_atomic(&path, bytes, Durability::Machine)?;
        Ok(digest)
    }

    fn name(&self, mut image: Image, manifest_digest: &str, names: &[Reference]) -> Result<Image> {
        let mut catalogue = self.catalogue.lock();
        if let Some(old) = catalogue.get(&image.id) {
            image.tags.extend(old.tags.iter().cloned());
            image.digests.extend(old.digests.iter().cloned());
        }
        for name in names {
            image.digests.insert(name.at(manifest_digest));
            image.digests.extend(name.digest.as_ref().map(|digest| name.at(digest)));
            let Some(tag) = name.tagged() else { continue };
            for other in catalogue.values_mut() {
                other.tags.remove(&tag);
            }
            image.tags.insert(tag);
        }
        catalogue.insert(image.id.clone(), image.clone());
        self.save(&catalogue)?;
        Ok(image)
    }

    fn save(&self, catalogue: &BTreeMap<String, Image>) -> Result<()> {
        files::write_json_durable(&self.root.join("images.json"), &catalogue.values().collect::<Vec<_>>())
    }

    /// Removes a name; removes the image when it was named by id or loses its last name. Layers in `in_use` and
    /// those of other images stay. That there is no such image is success.
    pub fn remove(&self, name: &str, in_use: &BTreeSet<String>) -> Result<()> {
        let Some(image) = self.find(name) else { return Ok(()) };
        {
            let mut catalogue = self.catalogue.lock();
            let tag = Reference::parse(name).ok().and_then(|name| name.tagged());
            let by_tag = tag.filter(|tag| image.tags.contains(tag) && image.tags.len() > 1);
            match (by_tag, catalogue.get_mut(&image.id)) {
                (Some(tag), Some(entry)) => {
                    entry.tags.remove(&tag);
                }
                _ => {
                    catalogue.remove(&image.id);
                }
            }
            self.save(&catalogue)?;
        }
        self.sweep(in_use)
    }

    /// Removes layers and documents that neither an image nor a container needs.
    pub fn sweep(&self, in_use: &BTreeSet<String>) -> Result<()> {
        let _sweeping = self.layers.lock();
        let needed: BTreeSet<String> =
            self.catalogue.lock().values().flat_map(|image| image.layers.iter().cloned()).collect();
        let directory = self.layers_dir();
        for entry in fs::read_dir(&directory).map_err(Error::file("reading", &directory))?.flatten() {
            let path = entry.path();
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            if !needed.contains(name) && !in_use.contains(name) {
                files::remove_all(&directory.join(format!("{name}.json")))?;
                files::remove_all(&directory.join(name))?;
            }
        }
        self.sweep_documents()
    }

    fn sweep_documents(&self) -> Result<()> {
        let catalogue = self.catalogue.lock();
        let digests = catalogue.values().flat_map(|image| {
            let manifests =
                image.digests.iter().filter_map(|name| name.split_once('@')).map(|(_, digest)| digest);
            manifests.chain([image.id.as_str()])
        });
        let needed: BTreeSet<&str> = digests.filter_map(|digest| digest.strip_prefix("sha256:")).collect();
        let directory = self.root.join("documents");
        for entry in fs::read_dir(&directory).map_err(Error::file("reading", &directory))?.flatten() {
            if !entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
                files::remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Bytes and inodes that images take.
    pub fn usage(&self) -> (u64, u64) {
        files::usage(&self.root)
    }

    /// Reads a stored document: the manifest or configuration with this digest.
    pub fn document(&self, digest: &str) -> Result<Vec<u8>> {
        if !is_digest(digest) {
            return Err(Error::Invalid(format!("{digest:?} is no digest")));
        }
        let path = self.root.join("documents").join(digest.trim_start_matches("sha256:"));
        fs::read(&path).map_err(Error::file("reading", path))
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// A directory that goes away with its owner.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store opens next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Parses a manifest and checks that it has as many layers as its configuration says.
pub fn check_layer_count(manifest: &Manifest, config_bytes: &[u8]) -> Result<()> {
    let config: ImageConfig =
        serde_json::from_slice(config_bytes).map_err(Error::parse("image configuration"))?;
    if manifest.layers.len() == config.rootfs.diff_ids.len() {
        return Ok(());
    }
    Err(Error::Image(format!(
        "manifest has {} layers, configuration has {}",
        manifest.layers.len(),
        config.rootfs.diff_ids.len()
    )))
}

fn by_prefix<'a>(catalogue: &'a BTreeMap<String, Image>, prefix: &str) -> Option<&'a Image> {
    let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
    if hex.len() < 4 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut matches = catalogue.values().filter(|image| image.id["sha256:".len()..].starts_with(hex));
    matches.next().filter(|_| matches.next().is_none())
}

/// `sha256:...` of bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// The OCI chain id: what a layer is, together with everything below it.
fn chain_id(parent: Option<&str>, diff_id: &str) -> String {
    parent.map_or_else(|| diff_id.to_string(), |parent| digest_of(format!("{parent} {diff_id}").as_bytes()))
}

/// 64 bits of the chain id: short enough for 127 of them in one page of mount options.
fn directory_name(chain_id: &str) -> String {
    chain_id.trim_start_matches("sha256:").chars().take(16).collect()
}

/// Unpacked files must be on disk before the record that says so.
fn flush(directory: &Path, lock: &Mutex<()>) -> Result<()> {
    let unflushed = |path: &PathBuf| {
        files::read_json::<LayerRecord>(path).is_ok_and(|record| record.unflushed_in.is_some())
    };
    let waiting: Vec<_> = records(directory)?.into_iter().filter(unflushed).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let file = fs::File::open(directory).map_err(Error::file("opening", directory))?;
    rustix::fs::syncfs(&file).map_err(Error::system("flushing the image store"))?;
    let _changing = lock.lock();
    // Some may have been removed meanwhile.
    for path in waiting.into_iter().filter(unflushed) {
        let record = LayerRecord { unflushed_in: None, ..files::read_json(&path)? };
        files::write_json_durable(&path, &record)?;
    }
    Ok(())
}

fn records(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(Error::file("reading", directory))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect())
}

/// Tells one run of the kernel from another.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
}
