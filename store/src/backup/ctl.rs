//! `snapshot save`, `status`, `hashkv`, `restore`, `list` and `verify`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use proto::etcd::etcdserverpb::{SnapshotRequest, maintenance_client::MaintenanceClient};
use serde_json::json;

use super::directory::Directory;
use super::file::{self, Draft};
use super::restore::{self, BUMP_DEFAULT, Moment, Plan};
use crate::ctl::fields::Fields;
use crate::ctl::output::{Answer, Format, size};
use crate::ctl::{Connection, Error};
use crate::history::{self, clock::now_unix_ms, time};
use crate::limits::IMAGE_CHUNK_BYTES_MAX;
use crate::mvcc::hash::Content;
use crate::mvcc::layout;
use crate::service::ETCD_VERSION;

/// Save, check and restore the state of a store.
#[derive(Clone, Debug, clap::Subcommand)]
#[expect(
    missing_docs,
    reason = "the documentation of flattened arguments would end up in the help of the command"
)]
pub enum Command {
    /// Save an image of a member into a file
    Save {
        #[command(flatten)]
        connection: Connection,
        /// The file; replaced when it is there.
        file: PathBuf,
    },
    /// Check an image from end to end and print what it holds
    Status {
        /// The image.
        file: PathBuf,
        #[command(flatten)]
        form: Form,
    },
    /// Hash the content of an image, as `endpoint hashkv` does that of a member
    Hashkv {
        /// The image.
        file: PathBuf,
        #[command(flatten)]
        form: Form,
        /// As it was at this revision. [default: the newest]
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
    /// Make the data directory of a member of a new cluster
    Restore(Restore),
    /// List the backups in a directory of --backup-dir
    List {
        /// The directory.
        directory: PathBuf,
    },
    /// Read all files of all backups in a directory of --backup-dir and compare them with their hashes
    Verify {
        /// The directory.
        directory: PathBuf,
    },
}

/// How to print what is known of a file.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Form {
    /// How to print: simple, json, fields or table.
    #[arg(short = 'w', long, value_enum, default_value_t = Format::Simple, env = "ETCDCTL_WRITE_OUT")]
    write_out: Format,
}

/// What to restore, and as what.
#[derive(Clone, Debug, clap::Args)]
pub struct Restore {
    /// An image, or a directory of --backup-dir.
    pub source: PathBuf,
    /// Which backup of a directory. [default: the newest]
    #[arg(long)]
    pub backup: Option<String>,
    /// The directory to make. [default: NAME.kontiki]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The member's name.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// The members of the new cluster as NAME=URL, separated by commas. [default: this member alone]
    #[arg(long, value_delimiter = ',')]
    pub initial_cluster: Vec<String>,
    /// Tells clusters with the same URLs apart.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Where the other members will reach this one.
    #[arg(long, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// Restore the content as it was at this revision.
    #[arg(long, conflicts_with = "time")]
    pub revision: Option<i64>,
    /// Restore the content as it was at this time (2026-11-21T03:00:00Z).
    #[arg(long)]
    pub time: Option<String>,
    /// By how much the revision grows beyond the newest in the image: more than the old cluster has made since.
    #[arg(long, default_value_t = BUMP_DEFAULT)]
    pub bump_revision: i64,
    /// Count all history as compacted, so that watches of the old cluster are told; always with a bump.
    #[arg(long)]
    pub mark_compacted: bool,
    #[command(flatten)]
    etcdutl: Etcdutl,
}

/// Flags of etcdutl for what is otherwise here.
#[derive(Clone, Debug, clap::Args)]
struct Etcdutl {
    /// Refused: an image is always checked.
    #[arg(long, hide = true)]
    skip_hash_check: bool,
    /// Refused: the log is in the data directory.
    #[arg(long, hide = true)]
    wal_dir: Option<PathBuf>,
    /// Ignored: nothing is mapped.
    #[arg(long, hide = true)]
    initial_memory_map_size: Option<u64>,
}

impl Etcdutl {
    fn judge(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Usage(why.to_owned()));
        match (self.skip_hash_check, &self.wal_dir) {
            (true, _) => refuse("--skip-hash-check: an image is always checked; without its hash it is none"),
            (false, Some(_)) => refuse("--wal-dir: the log of a member is in its data directory"),
            (false, None) => Ok(()),
        }
    }
}

/// Runs a command and prints to `out`.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Save { connection, file } => save(&connection, &file, out).await,
        Command::Status { file, form } => status(&file, form.write_out, out),
        Command::Hashkv { file, form, rev } => hash(&file, rev, form.write_out, out),
        Command::Restore(restore) => restore.run(out),
        Command::List { directory } => list(&directory, out),
        Command::Verify { directory } => verify(&directory, out),
    }
}

async fn save(connection: &Connection, path: &Path, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let mut client = MaintenanceClient::new(connection.connect_to_wait().await?)
        .max_decoding_message_size(2 * IMAGE_CHUNK_BYTES_MAX);
    let mut stream = client.snapshot(SnapshotRequest {}).await?.into_inner();
    let received = path.with_extension("received");
    let mut draft = Draft::create(&received)?;
    let mut version = String::new();
    while let Some(piece) = stream.message().await? {
        draft.write(&piece.blob)?;
        version = piece.version;
    }
    draft.finish()?;
    // Only what reads back whole gets the name.
    if let Err(error) = file::verify(&received, |_, _| Ok(())) {
        std::fs::remove_file(&received)?;
        return Err(error.into());
    }
    std::fs::rename(&received, path)?;
    file::sync_directory(file::parent(path))?;
    writeln!(out, "Snapshot saved at {}", path.display())?;
    if !version.is_empty() {
        writeln!(out, "Server version {version}")?;
    }
    Ok(())
}

/// What etcdutl says of a file; as a table and for programs also how far history reaches back, and when it was made.
fn status(path: &Path, write_out: Format, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] =
        &["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION", "HISTORY FROM", "MADE"];
    let header = file::verify(path, |_, _| Ok(()))?;
    let (hash, made) = (format!("{:x}", header.hash), time::show(header.made_unix_ms));
    let oldest = header.compacted.max(1);
    let mut fields = Fields::none(false);
    fields.value("Hash", header.hash);
    fields.value("Revision", header.revision);
    fields.value("Keys", header.keys);
    fields.value("Size", header.bytes);
    fields.value("Version", ETCD_VERSION);
    fields.value("HistoryFrom", oldest);
    fields.quoted("Made", made.as_bytes());
    let message = json!({
        "hash": header.hash,
        "revision": header.revision,
        "totalKey": header.keys,
        "totalSize": header.bytes,
        "version": ETCD_VERSION,
        "historyFrom": oldest,
        "made": made,
    });
    let size = size(i64::try_from(header.bytes).unwrap_or(i64::MAX));
    let known = [hash, header.revision.to_string(), header.keys.to_string(), size, ETCD_VERSION.to_owned()];
    let simple = known.join(", ") + "\n";
    let row = known.into_iter().chain([oldest.to_string(), made]).collect();
    Answer::new(simple, message, fields).table(TITLES, vec![row]).print(write_out, out)
}

fn hash(path: &Path, revision: i64, write_out: Format, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    const TITLES: &[&str] = &["HASH", "HASH REVISION", "COMPACT REVISION"];
    let image = file::open(path)?.header();
    let at = if revision == 0 { image.revision } else { revision };
    if at < image.compacted.max(1) || at > image.revision {
        let oldest = image.compacted.max(1);
        let detail = format!("the image holds revisions {oldest} to {}, not {at}", image.revision);
        return Err(Error::Failed(detail));
    }
    let mut content = Content::new(image.compacted, at);
    file::verify(path, |key, value| {
        if key.first() == Some(&layout::VERSIONS) {
            content.push(key, value)?;
        }
        Ok(())
    })?;
    let (hash, compacted) = (content.hash(), image.compacted);
    let mut fields = Fields::none(false);
    fields.value("Hash", hash);
    fields.value("Hash revision", at);
    fields.value("Compact revision", compacted);
    let message = json!({ "hash": hash, "hashRevision": at, "compactRevision": compacted });
    let row = [hash.to_string(), at.to_string(), compacted.to_string()];
    let simple = row.join(", ") + "\n";
    Answer::new(simple, message, fields).table(TITLES, vec![row.into()]).print(write_out, out)
}

fn list(path: &Path, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let directory = Directory::open(path)?;
    for name in directory.names()? {
        let manifest = directory.manifest(&name)?;
        let bytes: u64 = manifest.files.iter().map(|part| part.size).sum();
        let made = time::show(manifest.made_unix_ms);
        writeln!(out, "{name}  revision {}  {bytes} bytes  made {made}", manifest.revision)?;
    }
    Ok(())
}

fn verify(path: &Path, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let directory = Directory::open(path)?;
    let mut wrong = Vec::new();
    let whole = directory.verify(|name, detail| wrong.push(format!("{name}: {detail}")))?;
    for line in &wrong {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{whole} backups are whole")?;
    if wrong.is_empty() { Ok(()) } else { Err(Error::Failed(format!("{} files are damaged", wrong.len()))) }
}

impl Restore {
    fn run(self, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        self.etcdutl.judge()?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| format!("{}.kontiki", self.name).into());
        if !self.source.is_dir() {
            return self.restore(&self.source, data_dir, out);
        }
        let directory = Directory::open(&self.source)?;
        let newest = || directory.names().map(|names| names.into_iter().next_back());
        let name = match &self.backup {
            Some(name) => name.clone(),
            None => {
                newest()?.ok_or_else(|| Error::Usage(format!("{} holds no backup", self.source.display())))?
            }
        };
        let beside = |ending: &str| {
            let mut name = std::ffi::OsString::from(".");
            name.push(data_dir.file_name().unwrap_or_default());
            name.push(ending);
            data_dir.with_file_name(name)
        };
        let image = beside(".image");
        if let Some(above) = data_dir.parent() {
            std::fs::create_dir_all(above)?;
        }
        directory.image(&name, &image, &beside(".scratch"))?;
        let restored = self.restore(&image, data_dir.clone(), out);
        std::fs::remove_file(&image)?;
        restored
    }

    fn restore(&self, image: &Path, data_dir: PathBuf, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        let restored = restore::run(&Plan {
            image: image.to_owned(),
            data_dir: data_dir.clone(),
            name: self.name.clone(),
            members: self.members()?,
            cluster_token: self.initial_cluster_token.clone(),
            moment: self.moment()?,
            bump: self.bump_revision,
            mark_compacted: self.mark_compacted,
        })?;
        writeln!(
            out,
            "{}: the content of revision {} ({} keys, hash {:08x}) as revision {} of the new cluster {:x}",
            data_dir.display(),
            restored.restored,
            restored.keys,
            restored.hash,
            restored.revision,
            restored.cluster_id
        )?;
        Ok(())
    }

    fn moment(&self) -> Result<Moment, Error> {
        match (&self.revision, &self.time) {
            (Some(revision), _) => Ok(Moment::Revision(*revision)),
            (None, None) => Ok(Moment::Newest),
            (None, Some(text)) => match time::parse(text, now_unix_ms()).map_err(Error::Usage)? {
                history::Moment::UnixMs(time) => Ok(Moment::UnixMs(time)),
                history::Moment::Revision(_) => {
                    Err(Error::Usage("--time is a time; see --revision".to_owned()))
                }
            },
        }
    }

    fn members(&self) -> Result<BTreeMap<String, String>, Error> {
        if self.initial_cluster.is_empty() {
            let url = self.initial_advertise_peer_urls.trim_end_matches('/').to_owned();
            return Ok(BTreeMap::from([(self.name.clone(), url)]));
        }
        let mut members = BTreeMap::new();
        for member in &self.initial_cluster {
            let (name, url) = member
                .split_once('=')
                .ok_or_else(|| Error::Usage(format!("--initial-cluster: {member} is not NAME=URL")))?;
            members.insert(name.trim().to_owned(), url.trim().trim_end_matches('/').to_owned());
        }
        Ok(members)
    }
}
