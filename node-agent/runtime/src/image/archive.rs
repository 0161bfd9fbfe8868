//! Importing image archives: OCI layout in a tar, and what `docker save` writes. Either may be gzipped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::config::{self, Descriptor, Index, Manifest};
use super::reference::{Reference, is_digest};
use super::store::{Image, LayerSource, Store, check_layer_count, digest_of};
use super::unpack::decompress;
use crate::error::{Error, Result};
use crate::limits::IMAGE_DOCUMENT_BYTES_MAX;

/// How deep indexes may nest.
const INDEX_DEPTH_MAX: usize = 4;

/// One entry of `docker save`'s `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Imports every image of an archive that runs on this machine. `name`, if given, names the first image in addition
/// to the names in the archive.
pub fn import(store: &Store, file: &Path, name: Option<&Reference>) -> Result<Vec<Image>> {
    let work = store.work_dir()?;
    extract(file, work.path())?;
    let layout = Layout { directory: work.path() };
    let images = if work.path().join("manifest.json").exists() {
        layout.import_docker(store, name)?
    } else if work.path().join("index.json").exists() {
        layout.import_oci(store, name)?
    } else {
        return Err(Error::Image(format!(
            "{} is no image archive: neither index.json nor manifest.json in it",
            file.display()
        )));
    };
    if images.is_empty() {
        return Err(Error::Image(format!("{} has no image for this machine", file.display())));
    }
    Ok(images)
}

/// Imports every archive of a directory. One that cannot be read is reported, not fatal; that the directory does not
/// exist is fine.
pub fn import_dir(store: &Store, directory: &Path) -> Vec<(PathBuf, Result<Vec<Image>>)> {
    let mut paths: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.retain(|path| {
        let name = path.to_string_lossy();
        [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end))
    });
    paths.into_iter().map(|path| (path.clone(), import(store, &path, None))).collect()
}

/// Takes the regular files and links of the archive out into `directory`, flat names and sub-directories only.
fn extract(file: &Path, directory: &Path) -> Result<()> {
    let failed = |source| Error::File { action: "reading image archive", path: file.into(), source };
    let source = File::open(file).map_err(failed)?;
    let mut archive = tar::Archive::new(decompress(source).map_err(failed)?);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(Error::Image(format!(
                "{} has an entry {} outside of it",
                file.display(),
                path.display()
            )));
        }
        let target = directory.join(&path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                // Refuses to write through a link that the archive planted.
                let mut output = File::create_new(&target).map_err(failed)?;
                std::io::copy(&mut entry, &mut output).map_err(failed)?;
            }
            // `docker save` links equal layers to each other.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                copy_linked(&entry, directory, &target).map_err(failed)?
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy_linked(entry: &tar::Entry<'_, impl Read>, directory: &Path, target: &Path) -> std::io::Result<()> {
    let Some(link) = entry.link_name()? else { return Ok(()) };
    let base = if entry.header().entry_type() == tar::EntryType::Link {
        directory.to_path_buf()
    } else {
        target.parent().unwrap_or(directory).to_path_buf()
    };
    let mut source = PathBuf::new();
    for part in base.join(&link).components() {
        match part {
            Component::ParentDir => {
                source.pop();
            }
            Component::CurDir => {}
            part => source.push(part),
        }
    }
    if !source.starts_with(directory) {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    // Nothing but regular files is ever created, so a hard link cannot lead out.
    fs::hard_link(source, target)
}

struct Layout<'a> {
    directory: &'a Path,
}

impl Layout<'_> {
    fn import_docker(&self, store: &Store, name: Option<&Reference>) -> Result<Vec<Image>> {
        let entries: Vec<DockerImage> = serde_json::from_slice(&self.document("manifest.json")?)
            .map_err(Error::parse("manifest.json"))?;
        let mut images = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let config = self.document(&entry.config)?;
            let manifest = self.docker_manifest(entry, &config)?;
            let mut names = entry
                .repo_tags
                .iter()
                .flatten()
                .map(|tag| Reference::parse(tag))
                .collect::<Result<Vec<_>>>()?;
            names.extend(name.filter(|_| position == 0).cloned());
            let image = store.add(&manifest, &config, &names, |layer| {
                let path =
                    entry.layers.get(layer).ok_or_else(|| Error::Image("layer missing in archive".into()))?;
                self.open(path)
            })?;
            images.push(image);
        }
        Ok(images)
    }

    /// The archive has no manifest in OCI form; an equivalent one gives the image a stable digest.
    fn docker_manifest(&self, entry: &DockerImage, config: &[u8]) -> Result<Vec<u8>> {
        let descriptor = |media_type: &str, bytes: &[u8]| {
            json!({
                "mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len(),
            })
        };
        let parsed: config::ImageConfig =
            serde_json::from_slice(config).map_err(Error::parse("image configuration"))?;
        if parsed.rootfs.diff_ids.len() != entry.layers.len() {
            return Err(Error::Image(
                "archive and image configuration disagree about the number of layers".into(),
            ));
        }
        let layers: Vec<_> = parsed
            .rootfs
            .diff_ids
            .iter()
            .map(|diff_id| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": 0}))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": config::MANIFEST,
            "config": descriptor(config::CONFIG, config), "layers": layers,
        });
        Ok(manifest.to_string().into_bytes())
    }

    fn import_oci(&self, store: &Store, name: Option<&Reference>) -> Result<Vec<Image>> {
        let index = self.index("index.json")?;
        let mut images = Vec::new();
        let mut extra = name.cloned();
        for descriptor in &index.manifests {
            let mut names = names_of(&descriptor.annotations)?;
            if let Some(manifest) = self.resolve(descriptor, INDEX_DEPTH_MAX)? {
                names.extend(extra.take());
                images.push(self.import_manifest(store, &manifest, &names)?);
            }
        }
        Ok(images)
    }

    /// Follows indexes down to the manifest for this machine.
    fn resolve(&self, descriptor: &Descriptor, depth: usize) -> Result<Option<Descriptor>> {
        if descriptor.platform.as_ref().is_some_and(|platform| !platform.runs_here()) {
            return Ok(None);
        }
        let is_index = descriptor.media_type == config::INDEX
            || descriptor.media_type.ends_with("manifest.list.v2+json");
        if !is_index {
            return Ok(Some(descriptor.clone()));
        }
        if depth == 0 {
            return Err(Error::Image("indexes nested too deeply".into()));
        }
        for inner in self.index(&blob(&descriptor.digest)?)?.manifests {
            if let Some(found) = self.resolve(&inner, depth - 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn import_manifest(&self, store: &Store, descriptor: &Descriptor, names: &[Reference]) -> Result<Image> {
        let manifest_bytes = self.verified(&descriptor.digest)?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest_bytes).map_err(Error::parse("image manifest"))?;
        let config_bytes = self.verified(&manifest.config.digest)?;
        check_layer_count(&manifest, &config_bytes)?;
        store.add(&manifest_bytes, &config_bytes, names, |layer| {
            self.open(&blob(&manifest.layers[layer].digest)?)
        })
    }

    fn index(&self, path: &str) -> Result<Index> {
        serde_json::from_slice(&self.document(path)?).map_err(Error::parse(path))
    }

    fn verified(&self, digest: &str) -> Result<Vec<u8>> {
        let bytes = self.document(&blob(digest)?)?;
        if digest_of(&bytes) != digest {
            return Err(Error::Image(format!("archive is damaged: {digest} has other content")));
        }
        Ok(bytes)
    }

    fn document(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.resolve_path(path)?;
        let file = File::open(&path).map_err(Error::file("opening", &path))?;
        let mut bytes = Vec::new();
        file.take(IMAGE_DOCUMENT_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::file("reading", path))?;
        Ok(bytes)
    }

    fn open<'a>(&self, path: &str) -> Result<LayerSource<'a>> {
        let path = self.resolve_path(path)?;
        Ok(Box::new(File::open(&path).map_err(Error::file("opening", path))?))
    }

    fn resolve_path(&self, path: &str) -> Result<PathBuf> {
        if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(Error::Image(format!("archive refers to {path:?} outside of it")));
        }
        Ok(self.directory.join(path))
    }
}

fn blob(digest: &str) -> Result<String> {
    if !is_digest(digest) {
        return Err(Error::Image(format!("{digest:?} is no sha256 digest")));
    }
    Ok(digest.replacen(':', "/", 1)).map(|path| format!("blobs/{path}"))
}

/// The names an index entry carries. A bare tag names nothing by itself, so it is not used.
fn names_of(annotations: &BTreeMap<String, String>) -> Result<Vec<Reference>> {
    let full = annotations.get(config::CONTAINERD_NAME);
    let short = annotations.get(config::REF_NAME).filter(|name| name.contains(['/', ':']));
    full.or(short).map(|name| Reference::parse(name)).into_iter().collect()
}
