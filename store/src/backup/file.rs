//! Images as files: written whole or not at all, and checked from end to end.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::image::{Decoder, Header};
use super::{Error, image};
use crate::limits::IMAGE_CHUNK_BYTES;
use crate::mvcc::hash::Content;
use crate::mvcc::layout;

/// A file that appears under its name when it is complete and durable, and not before.
pub struct Draft {
    file: Option<BufWriter<File>>,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Starts a file. What stands under the name is replaced at the end.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let draft = path.with_file_name(name);
        let file = File::create(&draft).map_err(Error::file("create", &draft))?;
        let file = Some(BufWriter::with_capacity(IMAGE_CHUNK_BYTES, file));
        Ok(Self { file, draft, path: path.to_owned() })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(Error::file("write", &self.draft))
    }

    /// Makes the file durable and gives it its name.
    pub fn finish(mut self) -> Result<(), Error> {
        let failed = Error::file("write", &self.draft);
        let Some(file) = self.file.take() else { return Ok(()) };
        let synced =
            file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        if let Err(error) = synced {
            self.discard();
            return Err(failed(error));
        }
        fs::rename(&self.draft, &self.path).map_err(Error::file("name", &self.path))?;
        sync_directory(parent(&self.path))
    }

    fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.draft) {
            tracing::info!(path = %self.draft.display(), %error, "an unfinished file remains");
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.discard();
        }
    }
}

/// The directory a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::file("sync", path))
}

/// Opens an image and reads its header.
pub fn open(path: &Path) -> Result<Decoder<BufReader<File>>, Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    image::Decoder::new(BufReader::with_capacity(IMAGE_CHUNK_BYTES, file))
}

/// Reads an image from end to end and compares everything that can be compared: each chunk, the whole, the order and number
/// of entries, and the hash of the content. Calls `see` with every entry.
pub fn verify(path: &Path, mut see: impl FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<Header, Error> {
    let mut decoder = open(path)?;
    let header = decoder.header();
    let mut content = Content::new(header.compacted, header.revision);
    let (mut entries, mut last) = (0, bytes::Bytes::new());
    loop {
        let offset = decoder.offset();
        let damaged = |detail: String| Error::Damaged { offset, detail };
        let Some(chunk) = decoder.chunk()? else { break };
        for (key, value) in chunk {
            if key <= last {
                return Err(damaged("the entries are not in order".to_owned()));
            }
            if key.first() == Some(&layout::VERSIONS) {
                content.push(&key, &value).map_err(|error| damaged(error.to_string()))?;
            }
            see(&key, &value)?;
            entries += 1;
            last = key;
        }
    }
    let found = (entries, content.keys(), content.hash());
    let expected = (header.entries, header.keys, header.hash);
    if found != expected {
        let detail = format!("entries, keys and hash are {found:?}, the header says {expected:?}");
        return Err(Error::Damaged { offset: 0, detail });
    }
    Ok(header)
}
