//! One layer archive becomes one directory that overlayfs can stack.
//!
//! The archive comes from a stranger. Every name is resolved beneath the layer's directory by the kernel
//! (`openat2` with `RESOLVE_IN_ROOT`): links that point out of it lead back into it, and `..` stops at its root.
//! A whiteout `.wh.name` becomes the character device 0:0 that overlayfs reads as "not here", `.wh..wh..opq` the
//! attribute that hides everything below. The uncompressed bytes are hashed on the way.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::error::{Error, Result};

/// Bytes looked at to tell how an archive is compressed.
const MAGIC_BYTES: usize = 4;

/// What unpacking a layer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// `sha256:...` of the uncompressed archive.
    pub diff_id: String,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
}

/// Unpacks an archive (plain, gzip or zstd) into an empty directory.
pub fn unpack(archive: impl Read, directory: &Path) -> Result<Unpacked> {
    let failed = |source| Error::File { action: "unpacking a layer into", path: directory.into(), source };
    let mut reader = Hashing::new(decompress(archive).map_err(failed)?);
    let root = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    let layer = Layer { root };
    let mut archive = Archive::new(&mut reader);
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        layer.add(&mut entry, &mut directories).map_err(|error| named(&entry, error)).map_err(failed)?;
    }
    // Files put into a directory change its time, so directories get theirs last, the deepest first.
    for (path, seconds) in directories.iter().rev() {
        layer.set_time(path, *seconds).map_err(failed)?;
    }
    // What follows the closing blocks still belongs to the hashed bytes.
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    Ok(reader.finish())
}

fn named(entry: &Entry<'_, impl Read>, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(&entry.path_bytes())))
}

/// Reads gzip, zstd or plain bytes, told apart by their first bytes.
pub fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(128 << 10, source);
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let is_zstd = magic == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = io::Cursor::new(magic).chain(source);
    Ok(if is_gzip {
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Passes bytes through and hashes them.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn finish(self) -> Unpacked {
        Unpacked { diff_id: format!("sha256:{:x}", self.hash.finalize()), bytes: self.bytes }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

struct Layer {
    root: OwnedFd,
}

impl Layer {
    fn add(&self, entry: &mut Entry<'_, impl Read>, directories: &mut Vec<(PathBuf, i64)>) -> io::Result<()> {
        let path = clean(&PathBuf::from(OsStr::from_bytes(&entry.path_bytes())))?;
        let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            // The root itself: only its owner and mode count.
            return self.set_attributes(&self.root, OsStr::new("."), entry);
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes() == b".wh..wh..opq" {
            return set_opaque(&parent);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return match hidden {
                // Bookkeeping of older union file systems.
                [b'.', b'w', b'h', b'.', ..] | [] => Ok(()),
                hidden => whiteout(&parent, OsStr::from_bytes(hidden)),
            };
        }
        self.create(&parent, &name, entry)?;
        if entry.header().entry_type() == EntryType::Directory {
            directories.push((path, seconds));
        } else if entry.header().entry_type() != EntryType::Link {
            touch(&parent, &name, seconds)?;
        }
        Ok(())
    }

    fn create(&self, parent: &OwnedFd, name: &OsStr, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind != EntryType::Directory {
            remove(parent, name)?;
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file =
                    File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                io::copy(entry, &mut file)?;
            }
            EntryType::Directory => match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) => replace_unless_directory(parent, name)?,
                result => result?,
            },
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
                return self.link(&clean(Path::new(OsStr::from_bytes(&target)))?, parent, name);
            }
            EntryType::Fifo => node(parent, name, FileType::Fifo, 0)?,
            EntryType::Char => node(parent, name, FileType::CharacterDevice, device(entry)?)?,
            EntryType::Block => node(parent, name, FileType::BlockDevice, device(entry)?)?,
            // Headers about other entries were consumed by the reader; anything else is nothing a file system holds.
            _ => return Ok(()),
        }
        self.set_attributes(parent, name, entry)
    }

    /// A hard link; to a whiteout, when the target is one.
    fn link(&self, target: &Path, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let directory = self.parent(target.parent().unwrap_or(Path::new("")))?;
        let file = target.file_name().ok_or(io::ErrorKind::InvalidData)?;
        Ok(rustix::fs::linkat(&directory, file, parent, name, AtFlags::empty())?)
    }

    /// Opens a directory of the layer, creating what is missing.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open_beneath(path) {
            Err(error) if error == rustix::io::Errno::NOENT => {}
            result => return Ok(result?),
        }
        let mut current = self.open_beneath(Path::new(""))?;
        let mut walked = PathBuf::new();
        for part in path.components() {
            walked.push(part);
            match rustix::fs::mkdirat(&current, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            current = self.open_beneath(&walked)?;
        }
        Ok(current)
    }

    fn open_beneath(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.root.as_fd(), path, flags, Mode::empty(), resolve)
    }

    fn set_attributes(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &mut Entry<'_, impl Read>,
    ) -> io::Result<()> {
        let header = entry.header();
        let (uid, gid) = (header.uid()?, header.gid()?);
        let owner = |id: u64| u32::try_from(id).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        let (uid, gid) = (Uid::from_raw(owner(uid)?), Gid::from_raw(owner(gid)?));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if header.entry_type() != EntryType::Symlink {
            // After the owner: changing that clears set-user-id bits.
            let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            set_xattrs(parent, name, entry)?;
        }
        Ok(())
    }

    fn set_time(&self, path: &Path, seconds: i64) -> io::Result<()> {
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        path.file_name().map_or(Ok(()), |name| touch(&parent, name, seconds))
    }
}

/// The name without root, `.` and doubled slashes. `..` never leaves the layer, but no honest archive has it.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(clean)
}

fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        // A directory that becomes a file. It was made by this same archive, so it holds little.
        Err(rustix::io::Errno::ISDIR) => remove_tree(parent, name),
        Err(error) => Err(error.into()),
    }
}

fn remove_tree(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    std::fs::remove_dir_all(PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
}

fn replace_unless_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
}

fn whiteout(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    remove(parent, name)?;
    node(parent, name, FileType::CharacterDevice, 0)
}

fn set_opaque(directory: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
    Ok(rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

fn node(parent: &OwnedFd, name: &OsStr, kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?)
}

fn device(entry: &Entry<'_, impl Read>) -> io::Result<u64> {
    let header = entry.header();
    let major = header.device_major()?.ok_or(io::ErrorKind::InvalidData)?;
    let minor = header.device_minor()?.ok_or(io::ErrorKind::InvalidData)?;
    Ok(rustix::fs::makedev(major, minor))
}

fn touch(parent: &OwnedFd, name: &OsStr, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// File capabilities and user attributes. `trusted.*` is ours alone: an archive that sets it could forge whiteouts.
fn set_xattrs(parent: &OwnedFd, name: &OsStr, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
    for extension in extensions {
        let extension = extension?;
        let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) else {
            continue;
        };
        if key == "security.capability" || key.starts_with("user.") {
            match rustix::fs::lsetxattr(&path, key, extension.value_bytes(), XattrFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
