//! Assembling small images from files of this machine, without a registry and without a daemon.
//!
//! The same recipe gives the same bytes, and so the same digests: times are zero and names sorted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::config::{self, Defaults, Descriptor, ImageConfig, Index, Manifest, Platform, RootFs};
use super::reference::Reference;
use super::store::digest_of;
use crate::error::{Error, Result};

/// Every applet that Debian's and Alpine's busybox have in common and that people type in a shell.
const BUSYBOX_APPLETS: &[&str] = &[
    "[",
    "awk",
    "base64",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "free",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hostname",
    "httpd",
    "id",
    "ifconfig",
    "ip",
    "kill",
    "killall",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "more",
    "mount",
    "mv",
    "nc",
    "nslookup",
    "od",
    "pgrep",
    "pidof",
    "ping",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "route",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tar",
    "tee",
    "telnet",
    "test",
    "time",
    "timeout",
    "top",
    "touch",
    "tr",
    "traceroute",
    "true",
    "tty",
    "umount",
    "uname",
    "uniq",
    "uptime",
    "vi",
    "watch",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
    "yes",
];

/// Port that the hello image listens on.
pub const HELLO_PORT: u16 = 8080;

/// One file of an image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A directory.
    Directory,
    /// Bytes.
    Bytes(Vec<u8>),
    /// The bytes of a file of this machine.
    Copy(PathBuf),
    /// A symbolic link with this target.
    Link(String),
}

/// What an image is to be made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Complete name, with a tag.
    pub name: String,
    /// Path in the image, without the leading slash, to content and mode.
    pub files: BTreeMap<String, (Content, u32)>,
    /// How its containers are started.
    pub defaults: Defaults,
}

impl Recipe {
    /// An image with nothing in it.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), files: BTreeMap::new(), defaults: Defaults::default() }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: Content) -> Self {
        self.files.insert(path.trim_matches('/').to_string(), (content, mode));
        self
    }

    /// Adds everything below a directory of this machine. Devices and sockets are left out.
    pub fn tree(mut self, directory: &Path) -> Result<Self> {
        let mut pending = vec![directory.to_path_buf()];
        while let Some(current) = pending.pop() {
            for entry in fs::read_dir(&current).map_err(Error::file("reading", &current))? {
                let path = entry.map_err(Error::file("reading", &current))?.path();
                let metadata = fs::symlink_metadata(&path).map_err(Error::file("reading", &path))?;
                let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
                let kind = metadata.file_type();
                let content = if kind.is_dir() {
                    pending.push(path);
                    Content::Directory
                } else if kind.is_symlink() {
                    let target = fs::read_link(&path).map_err(Error::file("reading link", &path))?;
                    Content::Link(target.to_string_lossy().into_owned())
                } else if kind.is_char_device()
                    || kind.is_block_device()
                    || kind.is_socket()
                    || kind.is_fifo()
                {
                    continue;
                } else {
                    Content::Copy(path)
                };
                self.files.insert(name, (content, metadata.permissions().mode() & 0o7777));
            }
        }
        Ok(self)
    }

    /// Busybox (a static one, such as Debian's `/bin/busybox` from busybox-static) with its applets, a root user and the
    /// usual empty directories.
    pub fn busybox(name: &str, busybox: &Path) -> Self {
        let mut recipe = Self::new(name)
            .file("bin/busybox", 0o755, Content::Copy(busybox.into()))
            .file(
                "etc/passwd",
                0o644,
                text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            )
            .file("etc/group", 0o644, text("root:x:0:\nnobody:x:65534:\n"))
            .file("tmp", 0o1777, Content::Directory);
        for directory in ["root", "proc", "sys", "dev", "var", "run", "usr/bin"] {
            recipe = recipe.file(directory, 0o755, Content::Directory);
        }
        for applet in BUSYBOX_APPLETS {
            recipe = recipe.file(&format!("bin/{applet}"), 0o777, Content::Link("busybox".into()));
        }
        recipe.defaults.env =
            vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()];
        recipe.defaults.cmd = vec!["/bin/sh".into()];
        recipe
    }

    /// A web server on [`HELLO_PORT`] that answers `/` with its version and its host name, `/healthz` with `ok`, and
    /// `/version` and `/hostname` with one word each. Ends at once when told to.
    pub fn hello(name: &str, version: &str, busybox: &Path) -> Self {
        let script = format!(
            "#!/bin/sh\n\
             # Writes the pages, then serves them. A first process without a handler would ignore SIGTERM.\n\
             set -e\n\
             mkdir -p /tmp/www && cd /tmp/www\n\
             printf 'Hello from Kontiki\\nversion: {version}\\nhostname: %s\\n' \"$(hostname)\" > index.html\n\
             printf '{version}\\n' > version\n\
             hostname > hostname\n\
             echo ok > healthz\n\
             echo \"kontiki-hello {version} listening on port ${{PORT:-{HELLO_PORT}}}\"\n\
             httpd -f -vv -p \"${{PORT:-{HELLO_PORT}}}\" -h /tmp/www &\n\
             child=$!\n\
             trap 'echo stopping; kill \"$child\"; exit 0' TERM INT\n\
             wait \"$child\"\n"
        );
        let mut recipe =
            Self::busybox(name, busybox).file("bin/hello", 0o755, Content::Bytes(script.into_bytes()));
        recipe.defaults.cmd = vec!["/bin/hello".into()];
        recipe.defaults.exposed_ports.insert(format!("{HELLO_PORT}/tcp"), json!({}));
        recipe
    }
}

fn text(content: &str) -> Content {
    Content::Bytes(content.as_bytes().to_vec())
}

/// Writes the image as an OCI archive, which [`super::archive::import`] and every other runtime read.
pub fn build(recipe: &Recipe, archive: &Path) -> Result<()> {
    let name = Reference::parse(&recipe.name)?;
    let layer = layer(recipe)?;
    let diff_id = digest_of(&layer);
    let layer = gzip(&layer).map_err(Error::system("compressing a layer"))?;
    let platform = Platform::current();
    let config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        created: Some("1970-01-01T00:00:00Z".into()),
        config: recipe.defaults.clone(),
        rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
    };
    let config = serde_json::to_vec(&config).map_err(Error::parse("image configuration"))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: config::MANIFEST.into(),
        config: descriptor(config::CONFIG, &config),
        layers: vec![descriptor(config::LAYER_GZIP, &layer)],
    };
    let manifest = serde_json::to_vec(&manifest).map_err(Error::parse("image manifest"))?;
    let mut entry = descriptor(config::MANIFEST, &manifest);
    entry.platform = Some(platform);
    entry.annotations.insert(config::CONTAINERD_NAME.into(), name.to_string());
    entry.annotations.extend(name.tag.map(|tag| (config::REF_NAME.to_string(), tag)));
    let index = Index { schema_version: 2, media_type: config::INDEX.into(), manifests: vec![entry] };
    let index = serde_json::to_vec(&index).map_err(Error::parse("image index"))?;
    let mut files = vec![
        ("oci-layout".to_string(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_string(), index),
    ];
    for bytes in [manifest, config, layer] {
        files.push((format!("blobs/{}", digest_of(&bytes).replacen(':', "/", 1)), bytes));
    }
    write_archive(archive, &files).map_err(Error::file("writing image archive", archive))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: digest_of(bytes),
        size: bytes.len() as u64,
        ..Descriptor::default()
    }
}

fn write_archive(path: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let temporary = path.with_extension("partial");
    let mut builder = tar::Builder::new(io::BufWriter::new(File::create(&temporary)?));
    for (name, bytes) in files {
        let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    builder.into_inner()?.flush()?;
    fs::rename(temporary, path)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn layer(recipe: &Recipe) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for directory in missing_parents(recipe) {
        append(&mut builder, &directory, 0o755, &Content::Directory)?;
    }
    for (path, (content, mode)) in &recipe.files {
        append(&mut builder, path, *mode, content)?;
    }
    builder.into_inner().map_err(Error::system("writing a layer"))
}

fn missing_parents(recipe: &Recipe) -> std::collections::BTreeSet<String> {
    let parents = recipe.files.keys().flat_map(|path| Path::new(path).ancestors().skip(1));
    parents
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.is_empty() && !recipe.files.contains_key(path))
        .collect()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &Content) -> Result<()> {
    let failed = |source| Error::File { action: "adding to the image", path: path.into(), source };
    match content {
        Content::Directory => {
            let mut header = header(tar::EntryType::Directory, mode, 0);
            builder.append_data(&mut header, format!("{path}/"), io::empty()).map_err(failed)
        }
        Content::Link(target) => {
            let mut header = header(tar::EntryType::Symlink, mode, 0);
            builder.append_link(&mut header, path, target).map_err(failed)
        }
        Content::Bytes(bytes) => {
            let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice()).map_err(failed)
        }
        Content::Copy(source) => {
            let file = File::open(source).map_err(Error::file("opening", source))?;
            let size = file.metadata().map_err(Error::file("reading", source))?.size();
            let mut header = header(tar::EntryType::Regular, mode, size);
            builder.append_data(&mut header, path, file).map_err(failed)
        }
    }
}
