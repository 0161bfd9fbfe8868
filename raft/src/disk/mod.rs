//! The disk as the log sees it: files that are written at offsets, names in directories, and when both are durable.
//!
//! It knows bytes and names. It must not know what they mean. Two implementations: [`RealDisk`], and [`SimDisk`], which
//! keeps apart what was synced and what was not, crashes on demand, and fails as disks do.
//!
//! The contract, which both keep and the log relies on:
//!
//! - What [`File::write_at`] and [`File::preallocate`] did is durable after [`File::sync`] of that file; before that a crash
//!   may keep any part of it.
//! - Names made, changed or removed are durable after [`Disk::sync_dir`] of their directory; before that a crash may keep
//!   any prefix of the changes.
//! - Writing within what was preallocated and synced needs no more space.

mod real;
mod sim;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

pub use real::RealDisk;
pub use sim::{Crash, SimDisk};

/// A place for files. Paths are absolute or relative as the caller likes, but always the same for the same file.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory and those above it, durably; none of it need be new.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates an empty file, in the place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in the same directory, in the place of one that may have it. Open files stay open.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Open files stay open.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes sure that nobody else uses what this file guards, for as long as the result lives.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// Bytes that may still be written to the file system of this directory.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Awaited before a log is opened, and before each write by a log that has no thread of its own: a simulated disk is slow, or hangs,
    /// here.
    fn ready(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// An open file. Readers and one writer may use it at the same time.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Reads from an offset until `buffer` is full or the file ends; returns how many bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at an offset.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Extends the file with zeros that are really written, so that a later write within changes bytes and nothing else.
    /// When it fails for want of space the file is as long as what was written.
    fn preallocate(&self, size: u64) -> io::Result<()>;

    /// Makes everything written durable. After a failure nothing is known of what was written since the last success.
    fn sync(&self) -> io::Result<()>;
}
