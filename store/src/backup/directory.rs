//! A directory of backups that share the files they have in common.
//!
//! ```text
//! lock
//! files/<SHA-256 in hex>          a file of the engine, once, however many backups have it
//! backups/<name>.json             what a backup consists of; written last, so a backup is there or not
//! ```
//!
//! The engine never changes a file once it is written, so most of a backup is there from the one before: nothing is copied or
//! even read again for a file that has the name, size, time and place on disk it had then. Whole backups are what
//! retention removes; a file goes with the last backup that has it.
//!
//! Each member writes backups of itself to its own disk, leader or not: that needs no network, survives the loss of
//! any other member, and goes on without a majority. Every backup is complete.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::export::{Origin, export};
use super::file::{Draft, sync_directory};
use super::{Error, Header};
use crate::engine::{Engine, rocks::RocksEngine};
use crate::limits::{BACKUP_COPY_BYTES, BACKUP_FILES_MAX};
use crate::mvcc::facts;
use crate::server::found;

const FORMAT: u32 = 1;

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this record.
    pub format: u32,
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// When it was made, in milliseconds since 1970 UTC.
    pub made_unix_ms: u64,
    /// The newest revision in it.
    pub revision: i64,
    /// The oldest that can be restored.
    pub compacted: i64,
    /// The files of the engine.
    pub files: Vec<Part>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name in the engine.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex; its name here.
    pub sha256: String,
    /// Where it was on the member's disk, by which it is known again: inode and time of the last change.
    pub place: (u64, i64, i64),
}

/// Which backups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// The newest so many.
    Count(usize),
    /// Those younger than so many seconds, and always the newest.
    Seconds(u64),
}

/// What a backup cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// The newest revision in it.
    pub revision: i64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes of the files that no earlier backup had.
    pub bytes_new: u64,
    /// Backups that retention removed.
    pub removed: usize,
}

/// A directory of backups, held against others.
pub struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens or creates a directory.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let lock = found::lock_directory(root).map_err(|error| Error::Refused(error.to_string()))?;
        for part in ["files", "backups"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Names of the backups, the oldest first.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let path = self.root.join("backups");
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(Error::file("look into", &path))? {
            let entry = entry.map_err(Error::file("look into", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".json").map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What a backup consists of.
    pub fn manifest(&self, name: &str) -> Result<Manifest, Error> {
        let path = self.manifest_path(name);
        let content = fs::read(&path).map_err(Error::file("read", &path))?;
        let manifest: Manifest = serde_json::from_slice(&content)
            .map_err(|error| Error::Refused(format!("{} is damaged: {error}", path.display())))?;
        let plain = |part: &Part| {
            let hex = part.sha256.len() == 64 && part.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex && !part.name.contains('/') && !part.name.starts_with('.')
        };
        if manifest.format != FORMAT || !manifest.files.iter().all(plain) {
            return Err(Error::Refused(format!("{} is not a backup of format {FORMAT}", path.display())));
        }
        Ok(manifest)
    }

    fn manifest_path(&self, name: &str) -> PathBuf {
        self.root.join("backups").join(format!("{name}.json"))
    }

    fn file_path(&self, sha256: &str) -> PathBuf {
        self.root.join("files").join(sha256)
    }

    /// Adds a backup: an image that the engine makes in `scratch`, which must not exist and is gone afterwards. Blocks.
    pub fn add(
        &self,
        engine: &dyn Engine,
        origin: Origin,
        scratch: &Path,
        room: impl FnOnce(u64) -> Result<(), Error>,
    ) -> Result<Made, Error> {
        remove(scratch)?;
        let now = engine.checkpoint(scratch, &facts::now_key())?;
        let added = self.take(scratch, now.as_deref(), origin, room);
        remove(scratch)?;
        added
    }

    fn take(
        &self,
        image: &Path,
        now: Option<&[u8]>,
        origin: Origin,
        room: impl FnOnce(u64) -> Result<(), Error>,
    ) -> Result<Made, Error> {
        let facts = now.map(facts::decode_now).transpose()?.unwrap_or_default();
        let known = self.known(origin.member_id)?;
        let found = list(image)?;
        let is_new = |(name, place, size): &&Seen| !known.contains_key(&(name.clone(), *place, *size));
        room(found.iter().filter(is_new).map(|(_, _, size)| size).sum())?;
        let (mut files, mut bytes, mut bytes_new) = (Vec::new(), 0, 0);
        for (name, place, size) in found {
            let sha256 = match known.get(&(name.clone(), place, size)) {
                Some(sha256) => sha256.clone(),
                None => {
                    bytes_new += size;
                    self.copy(&image.join(&name))?
                }
            };
            bytes += size;
            files.push(Part { name, size, sha256, place });
        }
        sync_directory(&self.root.join("files"))?;
        let Origin { cluster_id, member_id, made_unix_ms } = origin;
        let (revision, compacted) = (facts.revision, facts.compacted);
        let manifest =
            Manifest { format: FORMAT, cluster_id, member_id, made_unix_ms, revision, compacted, files };
        let name = format!("{made_unix_ms:014}-{revision}");
        let content = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::Refused(format!("the manifest cannot be written: {error}")))?;
        let mut draft = Draft::create(&self.manifest_path(&name))?;
        draft.write(&content)?;
        draft.finish()?;
        Ok(Made { name, revision, bytes, bytes_new, removed: 0 })
    }

    /// Files of a member that are here, by how they are known again.
    fn known(&self, member_id: u64) -> Result<HashMap<Seen, String>, Error> {
        let Some(newest) = self.names()?.pop() else { return Ok(HashMap::new()) };
        let manifest = self.manifest(&newest)?;
        if manifest.member_id != member_id {
            return Ok(HashMap::new());
        }
        let files = manifest.files.into_iter();
        let here = files.filter(|part| {
            fs::metadata(self.file_path(&part.sha256)).is_ok_and(|found| found.len() == part.size)
        });
        Ok(here.map(|part| ((part.name, part.place, part.size), part.sha256)).collect())
    }

    /// Copies a file, unless one with its content is here.
    fn copy(&self, from: &Path) -> Result<String, Error> {
        let draft_path = self.root.join("files").join("copy");
        let mut source = File::open(from).map_err(Error::file("open", from))?;
        let mut file = File::create(&draft_path).map_err(Error::file("create", &draft_path))?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BACKUP_COPY_BYTES];
        loop {
            let count = source.read(&mut buffer).map_err(Error::file("read", from))?;
            if count == 0 {
                break;
            }
            digest.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(Error::file("write", &draft_path))?;
        }
        file.sync_all().map_err(Error::file("sync", &draft_path))?;
        let sha256 = hex(&digest.finalize());
        let path = self.file_path(&sha256);
        fs::rename(&draft_path, &path).map_err(Error::file("name", &path))?;
        Ok(sha256)
    }

    /// Removes the backups that are not to be kept, and the files that no other has. Returns how many.
    pub fn retain(&self, retention: Retention, now_unix_ms: u64) -> Result<usize, Error> {
        let names = self.names()?;
        let older = names.len().saturating_sub(1);
        let gone: Vec<&String> = match retention {
            Retention::Count(count) => names.iter().take(names.len().saturating_sub(count.max(1))).collect(),
            Retention::Seconds(seconds) => {
                let oldest = now_unix_ms.saturating_sub(seconds.saturating_mul(1000));
                let made = |name: &str| name.split('-').next().and_then(|made| made.parse::<u64>().ok());
                let names = names.iter().take(older);
                names.filter(|name| made(name).is_some_and(|made| made < oldest)).collect()
            }
        };
        for name in &gone {
            let path = self.manifest_path(name);
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        if !gone.is_empty() {
            sync_directory(&self.root.join("backups"))?;
            self.sweep()?;
        }
        Ok(gone.len())
    }

    /// Removes files that belong to no backup.
    fn sweep(&self) -> Result<(), Error> {
        let mut used = BTreeSet::new();
        for name in self.names()? {
            used.extend(self.manifest(&name)?.files.into_iter().map(|part| part.sha256));
        }
        let files = self.root.join("files");
        for entry in fs::read_dir(&files).map_err(Error::file("look into", &files))? {
            let entry = entry.map_err(Error::file("look into", &files))?;
            if !used.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path()).map_err(Error::file("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Reads all files of all backups and compares them with their hashes; calls `found` with what is wrong. Returns the
    /// number of backups that are whole.
    pub fn verify(&self, mut found: impl FnMut(&str, String)) -> Result<usize, Error> {
        let mut checked: HashMap<String, Option<String>> = HashMap::new();
        let mut whole = 0;
        for name in self.names()? {
            let manifest = match self.manifest(&name) {
                Ok(manifest) => manifest,
                Err(error) => {
                    found(&name, error.to_string());
                    continue;
                }
            };
            let mut wrong = false;
            for part in manifest.files {
                let state = checked.entry(part.sha256.clone()).or_insert_with(|| self.check(&part).err());
                if let Some(detail) = state {
                    wrong = true;
                    found(&name, format!("{}: {detail}", part.name));
                }
            }
            whole += usize::from(!wrong);
        }
        Ok(whole)
    }

    fn check(&self, part: &Part) -> Result<(), String> {
        let path = self.file_path(&part.sha256);
        let mut file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BACKUP_COPY_BYTES];
        let mut size = 0;
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(|error| format!("{} at byte {size}: {error}", path.display()))?;
            if count == 0 {
                break;
            }
            size += count as u64;
            digest.update(&buffer[..count]);
        }
        if size != part.size {
            return Err(format!("{} has {size} bytes instead of {}", path.display(), part.size));
        }
        match hex(&digest.finalize()) {
            found if found == part.sha256 => Ok(()),
            found => Err(format!("{} has the hash {found}", path.display())),
        }
    }

    /// Turns a backup into an image, by way of a scratch directory on a disk with room for both.
    pub fn image(&self, name: &str, image: &Path, scratch: &Path) -> Result<Header, Error> {
        let manifest = self.manifest(name)?;
        remove(scratch)?;
        let database = scratch.join("db-0");
        fs::create_dir_all(&database).map_err(Error::file("create", &database))?;
        let made = self.assemble(&manifest, &database).and_then(|()| {
            let engine = RocksEngine::open(scratch)?;
            let Manifest { cluster_id, member_id, made_unix_ms, .. } = manifest;
            let mut draft = Draft::create(image)?;
            let mut failed = None;
            let header = export(
                engine.reader().as_ref(),
                Origin { cluster_id, member_id, made_unix_ms },
                &mut |bytes, _| match draft.write(&bytes) {
                    Ok(()) => std::ops::ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        std::ops::ControlFlow::Break(())
                    }
                },
            )?;
            match (header, failed) {
                (Some(header), None) => draft.finish().map(|()| header),
                (_, Some(error)) => Err(error),
                (None, None) => Err(Error::Refused("the image was not finished".to_owned())),
            }
        });
        remove(scratch)?;
        made
    }

    fn assemble(&self, manifest: &Manifest, into: &Path) -> Result<(), Error> {
        for part in &manifest.files {
            self.check(part).map_err(|detail| Error::Refused(format!("the backup is damaged: {detail}")))?;
            let path = into.join(&part.name);
            fs::copy(self.file_path(&part.sha256), &path).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }
}

/// Name, place and size.
type Seen = (String, (u64, i64, i64), u64);

fn list(image: &Path) -> Result<Vec<Seen>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(image).map_err(Error::file("look into", image))? {
        let entry = entry.map_err(Error::file("look into", image))?;
        let metadata = entry.metadata().map_err(Error::file("look at", &entry.path()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What the engine logs for people, and its lock, are no part of the state.
        if metadata.is_file() && name != "LOCK" && !name.starts_with("LOG") {
            found.push((name, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()), metadata.len()));
        }
        if found.len() > BACKUP_FILES_MAX {
            return Err(Error::Refused(format!("the state has more than {BACKUP_FILES_MAX} files")));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a retention: a number of backups (`7`) or an age (`72h`, `30m`, `90s`).
pub fn retention(text: &str) -> Result<Retention, String> {
    let wrong = || format!("{text:?} is neither a number of backups nor an age as in 72h");
    if let Ok(count) = text.parse::<usize>() {
        return if count > 0 { Ok(Retention::Count(count)) } else { Err(wrong()) };
    }
    duration(text).map(|age| Retention::Seconds(age.as_secs())).ok_or_else(wrong)
}

/// Reads a duration as in `72h`, `30m` or `90s`.
pub fn duration(text: &str) -> Option<Duration> {
    let age: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(age).ok().filter(|age| !age.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_a_number_or_an_age() {
        let table = [
            ("7", Some(Retention::Count(7))),
            ("72h", Some(Retention::Seconds(259_200))),
            ("30m", Some(Retention::Seconds(1800))),
            ("0", None),
            ("-1h", None),
            ("soon", None),
        ];
        for (text, expect) in table {
            assert_eq!(retention(text).ok(), expect, "{text}");
        }
    }
}
