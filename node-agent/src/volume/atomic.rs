//! Files that change all at once. The layout is upstream's atomic writer:
//!
//! ```text
//! <volume>/..2026_11_20_12_00_00.123456789/   the files
//! <volume>/..data -> ..2026_11_20_...         swapped by rename
//! <volume>/key -> ..data/key                  one link per top-level name
//! ```
//!
//! A reader sees the old files or the new ones. A crash between any two steps leaves the old state in place
//! and at most a stray directory, which the next write removes.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::payload::{File, Payload};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes a volume show exactly these files; true if anything changed.
pub fn write(volume: &Path, payload: &Payload, now: Timestamp) -> io::Result<bool> {
    let current = fs::read_link(volume.join(DATA)).ok();
    if current.as_ref().is_some_and(|dir| same(&volume.join(dir), payload)) {
        return link_names(volume, payload).map(|()| false);
    }
    let fresh = fresh_dir(volume, now)?;
    for (path, file) in payload {
        put(&fresh, path, file)?;
    }
    let name = fresh.file_name().map(PathBuf::from).ok_or_else(|| io::Error::other("no directory name"))?;
    let next = volume.join(DATA_NEXT);
    ignore_missing(fs::remove_file(&next))?;
    symlink(&name, &next)?;
    fs::rename(&next, volume.join(DATA))?;
    link_names(volume, payload)?;
    remove_stray(volume, &name)?;
    Ok(true)
}

fn fresh_dir(volume: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for attempt in 0..u32::MAX {
        let dir = volume.join(format!("{stamp}.{:09}{attempt}", now.subsec_nanosecond().unsigned_abs()));
        match fs::DirBuilder::new().mode(0o755).create(&dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(()) => return fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).map(|()| dir),
        }
    }
    Err(io::Error::other("no free directory name"))
}

fn put(dir: &Path, path: &str, file: &File) -> io::Result<()> {
    let full = dir.join(path);
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&full, &file.data)?;
    fs::set_permissions(&full, fs::Permissions::from_mode(file.mode))
}

/// Whether a directory already has exactly these files, with these contents and modes.
fn same(dir: &Path, payload: &Payload) -> bool {
    let mut present = BTreeSet::new();
    if list(dir, Path::new(""), &mut present).is_err() || present.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let full = dir.join(path);
        let mode = fs::metadata(&full).map(|m| m.permissions().mode() & 0o777);
        // A group that owns the volume may have been given more than was asked for.
        let modes_agree = mode.is_ok_and(|mode| mode & 0o707 == file.mode & 0o707);
        modes_agree && fs::read(&full).is_ok_and(|data| data == file.data)
    })
}

fn list(dir: &Path, below: &Path, out: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(dir, &path, out)?;
        } else {
            out.insert(path);
        }
    }
    Ok(())
}

/// One link per top-level name; links to names that are gone are removed.
fn link_names(volume: &Path, payload: &Payload) -> io::Result<()> {
    let names: BTreeSet<&str> =
        payload.keys().filter_map(|path| path.split('/').find(|p| !p.is_empty())).collect();
    for name in &names {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with("..") && !names.contains(text.as_ref()) && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_stray(volume: &Path, current: &Path) -> io::Result<()> {
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let stray = text.starts_with("..") && !text.starts_with(DATA) && Path::new(&name) != current;
        if stray && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::{File, Payload, write};

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(p, d)| ((*p).to_owned(), File { data: d.as_bytes().to_vec(), mode: 0o640 }))
            .collect()
    }

    #[test]
    fn files_change_together_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let at = Timestamp::UNIX_EPOCH;
        let early = payload(&[("a", "1"), ("sub/b", "2")]);
        assert!(write(path, &early, at).unwrap());
        assert_eq!(fs::read_to_string(path.join("sub/b")).unwrap(), "2");
        assert!(!write(path, &early, at).unwrap(), "the same files again change nothing");
        let target = fs::read_link(path.join("..data")).unwrap();
        assert!(write(path, &payload(&[("a", "3"), ("c", "4")]), at).unwrap());
        assert_ne!(fs::read_link(path.join("..data")).unwrap(), target);
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "3");
        assert_eq!(fs::read_to_string(path.join("c")).unwrap(), "4");
        assert!(fs::symlink_metadata(path.join("sub")).is_err());
        let names =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let stamped = names.filter(|n| n.starts_with("..") && n != "..data");
        assert_eq!(stamped.count(), 1, "the files of before are gone");
    }
}
