//! hostPath volumes: what may be there and what is made.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

/// Checks (and for the `...OrCreate` types makes) a path of the host.
pub fn check(path: &str, r#type: &str) -> Result<(), String> {
    let fault = |what: &str| Err(format!("hostPath type check failed: {path} is not {what}"));
    let meta = fs::metadata(path);
    let kind = meta.as_ref().ok().map(fs::Metadata::file_type);
    match r#type {
        "" => Ok(()),
        "DirectoryOrCreate" => match kind {
            Some(kind) if kind.is_dir() => Ok(()),
            Some(_) => fault("a directory"),
            None => make_dir(path).map_err(|e| format!("create {path}: {e}")),
        },
        "FileOrCreate" => match kind {
            Some(kind) if kind.is_file() => Ok(()),
            Some(_) => fault("a file"),
            None => make_file(path).map_err(|e| format!("create {path}: {e}")),
        },
        "Directory" if kind.is_some_and(|k| k.is_dir()) => Ok(()),
        "File" if kind.is_some_and(|k| k.is_file()) => Ok(()),
        "Socket" if kind.is_some_and(|k| k.is_socket()) => Ok(()),
        "CharDevice" if kind.is_some_and(|k| k.is_char_device()) => Ok(()),
        "BlockDevice" if kind.is_some_and(|k| k.is_block_device()) => Ok(()),
        "Directory" => fault("a directory"),
        "File" => fault("a file"),
        "Socket" => fault("a socket file"),
        "CharDevice" => fault("a character device"),
        "BlockDevice" => fault("a block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn make_dir(path: &str) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn make_file(path: &str) -> io::Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent)?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        assert!(check(&path("none"), "").is_ok());
        assert!(check(&path("none"), "Directory").unwrap_err().contains("is not a directory"));
        check(&path("new/dir"), "DirectoryOrCreate").unwrap();
        check(&path("new/dir"), "Directory").unwrap();
        check(&path("new/file"), "FileOrCreate").unwrap();
        check(&path("new/file"), "File").unwrap();
        assert!(check(&path("new/file"), "DirectoryOrCreate").is_err());
    }
}
