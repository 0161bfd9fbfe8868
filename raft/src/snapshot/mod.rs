//! Images of the state as files: where they lie, how they travel.
//!
//! It knows directories and chunks. It must not know what the files hold.
//!
//! ```text
//! sender                                              receiver
//! header (vote, position)                       ──►   checked
//! file "000012.sst"  0..512 KiB                 ──►   written
//! file "000012.sst"  512..700 KiB, last, crc    ──►   crc compared, synced
//! ...
//! no file, last, number of files                ──►   number compared, directory synced, then restored
//! ```

mod receive;
mod send;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use receive::Receiver;
pub(crate) use send::chunks;

/// The directory under which images come and go. What a crash left there is of no use to anybody.
#[derive(Clone)]
pub(crate) struct Images {
    root: Arc<Path>,
    next: Arc<AtomicU64>,
}

impl Images {
    /// Creates the directory, or empties it.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        match std::fs::remove_dir_all(&root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::create_dir_all(&root)?;
        Ok(Self { root: root.into(), next: Arc::default() })
    }

    fn fresh(&self, kind: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{kind}-{number}"))
    }

    /// A path for an image about to be sent; nothing is there yet.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.fresh("outgoing")
    }

    /// A path for an image about to be received; nothing is there yet.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.fresh("incoming")
    }

    /// Removes an image. What remains is removed at the next start.
    pub(crate) fn discard(&self, image: &Path) {
        match std::fs::remove_dir_all(image) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(image = %image.display(), %error, "cannot remove an image"),
        }
    }
}

/// Removes an image when dropped.
pub(crate) struct Discard {
    pub(crate) images: Images,
    pub(crate) path: PathBuf,
}

impl Drop for Discard {
    fn drop(&mut self) {
        self.images.discard(&self.path);
    }
}

#[cfg(test)]
mod tests;
