//! From chunks to files. The sender is a member, and yet nothing it says is believed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use proto::raft::SnapshotChunk;

use crate::limits;

/// Writes an image. Blocks on every call.
pub(crate) struct Receiver {
    root: PathBuf,
    open: Option<Open>,
    files: u64,
    finished: bool,
}

struct Open {
    name: String,
    file: File,
    offset: u64,
    crc: u32,
}

fn refuse(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

impl Receiver {
    /// Starts an image in `root`, which does not exist yet.
    pub(crate) fn new(root: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&root)?;
        Ok(Self { root, open: None, files: 0, finished: false })
    }

    /// Takes the next chunk after the header.
    pub(crate) fn take(&mut self, chunk: &SnapshotChunk) -> io::Result<()> {
        if self.finished {
            return Err(refuse("a chunk after the last one".into()));
        }
        if chunk.file.is_empty() {
            return self.finish(chunk);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create(&chunk.file)?,
        };
        if open.name != chunk.file || open.offset != chunk.offset {
            let got = format!("{} at {}", chunk.file, chunk.offset);
            return Err(refuse(format!("{got} instead of {} at {}", open.name, open.offset)));
        }
        open.file.write_all(&chunk.data)?;
        open.offset += chunk.data.len() as u64;
        open.crc = crc32c::crc32c_append(open.crc, &chunk.data);
        if !chunk.last {
            self.open = Some(open);
            return Ok(());
        }
        if open.crc != chunk.crc32c {
            return Err(refuse(format!("{} does not match its checksum", open.name)));
        }
        open.file.sync_all()?;
        self.files += 1;
        Ok(())
    }

    /// Whether the last chunk was taken: the image is complete and durable.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    fn create(&self, name: &str) -> io::Result<Open> {
        if self.files >= limits::SNAPSHOT_FILES_MAX {
            return Err(refuse(format!("more than {} files", limits::SNAPSHOT_FILES_MAX)));
        }
        let plain = name.len() <= limits::SNAPSHOT_NAME_BYTES_MAX
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(refuse(format!("file name {name:?}")));
        }
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = File::create_new(path)?;
        Ok(Open { name: name.to_owned(), file, offset: 0, crc: 0 })
    }

    fn finish(&mut self, chunk: &SnapshotChunk) -> io::Result<()> {
        if !chunk.last || self.open.is_some() || chunk.offset != self.files {
            return Err(refuse(format!("the image ends after {} of {} files", self.files, chunk.offset)));
        }
        sync_directories(&self.root)?;
        self.finished = true;
        Ok(())
    }
}

fn sync_directories(directory: &Path) -> io::Result<()> {
    for item in std::fs::read_dir(directory)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            sync_directories(&item.path())?;
        }
    }
    File::open(directory)?.sync_all()
}
