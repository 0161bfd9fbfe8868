//! From an image to the data directory of a member of a new cluster.
//!
//! ```text
//! verify the image ──► write the state beside the target ──► flush, read back, compare the hash ──► identity ──► rename
//! ```
//!
//! The directory appears under its name by one rename, when everything in it is durable: a crash before leaves a
//! hidden directory beside it, which the next attempt empties.
//!
//! What is changed on the way in:
//!
//! | | |
//! |---|---|
//! | revision | the image's newest plus a bump, so that no revision the old cluster has shown is assigned again, even those after the image was made |
//! | compacted | the same: whoever watched or cached the old cluster is told that its revision is gone |
//! | at an older revision | what was written later is left out; a key whose lease has ended since is kept without it |
//! | leases | keep their time to live and start over |
//! | time index | dropped when history is, see above |
//! | users and roles | as in the image, whatever the moment; auth stays on if it was |
//! | tokens | dropped |

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file::{self, parent, sync_directory};
use super::{Error, Header};
use crate::auth;
use crate::engine::{Batch, Engine, Reader, rocks::RocksEngine};
use crate::limits::RESTORE_BATCH_BYTES;
use crate::mvcc::facts::{self, Facts};
use crate::mvcc::hash::{self, Content};
use crate::mvcc::layout::{self, LeaseRecord, Version};
use crate::mvcc::times;
use crate::server::found;

/// Revisions by which a restored cluster is ahead of its image unless told otherwise: at a thousand writes each second, what
/// a cluster makes in eleven days after its image was made.
pub const BUMP_DEFAULT: i64 = 1_000_000_000;

/// Which moment of the image to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The newest.
    Newest,
    /// As it was at a revision.
    Revision(i64),
    /// As it was at a time, in milliseconds since 1970 UTC.
    UnixMs(u64),
}

/// What to restore, and as what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The image.
    pub image: PathBuf,
    /// The directory to make; must not exist or be empty.
    pub data_dir: PathBuf,
    /// The member's name; among `members`.
    pub name: String,
    /// All members of the new cluster: name and peer URL.
    pub members: BTreeMap<String, String>,
    /// The token they will be started with.
    pub cluster_token: String,
    /// Which moment.
    pub moment: Moment,
    /// By how much the revision grows; [`BUMP_DEFAULT`].
    pub bump: i64,
    /// Whether history ends here. It always does with a bump or an older moment.
    pub mark_compacted: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The image's header.
    pub image: Header,
    /// The revision whose content was restored.
    pub restored: i64,
    /// The revision the cluster starts at.
    pub revision: i64,
    /// The new cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// Keys that exist.
    pub keys: u64,
    /// Hash of the content at the revision it starts at; the same on every member.
    pub hash: u32,
}

/// Restores. Blocks. After a failure or a crash nothing stands under the target's name.
pub fn run(plan: &Plan) -> Result<Restored, Error> {
    check(plan)?;
    let seen = survey(&plan.image)?;
    let at = revision(plan.moment, &seen)?;
    let draft = draft_of(&plan.data_dir)?;
    let lock = lock(&draft)?;
    let restored = write(plan, &seen, at, &draft)?;
    sync_directory(&draft)?;
    drop(lock);
    fs::rename(&draft, &plan.data_dir).map_err(Error::file("name", &plan.data_dir))?;
    sync_directory(parent(&plan.data_dir))?;
    Ok(restored)
}

fn check(plan: &Plan) -> Result<(), Error> {
    let refuse = |detail: String| Err(Error::Refused(detail));
    if plan.bump < 0 {
        return refuse("revisions only grow: the bump must not be negative".to_owned());
    }
    if !plan.members.contains_key(&plan.name) {
        return refuse(format!("{} is not among the members {:?}", plan.name, plan.members));
    }
    match fs::read_dir(&plan.data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("look into", &plan.data_dir)(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => refuse(format!("{} is not empty", plan.data_dir.display())),
        },
    }
}

/// What the first reading finds.
struct Seen {
    header: Header,
    leases: HashSet<i64>,
    times: BTreeMap<u64, i64>,
}

/// Reads the whole image before anything is written.
fn survey(image: &Path) -> Result<Seen, Error> {
    let (mut leases, mut times) = (HashSet::new(), BTreeMap::new());
    let header = file::verify(image, |key, value| {
        match key.first() {
            Some(&layout::LEASES) => {
                leases.insert(layout::lease_of(key)?);
            }
            Some(&layout::TIMES) => {
                times.insert(times::time_of(key)?, times::revision_of(value)?);
            }
            Some(_) | None => {}
        }
        Ok(())
    })?;
    Ok(Seen { header, leases, times })
}

/// The revision of a moment, if the image holds it.
fn revision(moment: Moment, seen: &Seen) -> Result<i64, Error> {
    let Header { revision: newest, compacted, made_unix_ms, .. } = seen.header;
    let at = match moment {
        Moment::Newest => return Ok(newest),
        Moment::Revision(revision) => revision,
        Moment::UnixMs(time) if time >= made_unix_ms => newest,
        Moment::UnixMs(time) => {
            let at = seen.times.range(..=time).next_back().map(|(_, revision)| *revision);
            at.filter(|at| *at >= compacted).ok_or_else(|| {
                let oldest = seen.times.iter().find(|(_, revision)| **revision >= compacted);
                let oldest = oldest.map_or(made_unix_ms, |(time, _)| *time);
                let show = crate::history::time::show;
                Error::Refused(format!(
                    "the image does not reach back to {}, only to {}",
                    show(time),
                    show(oldest)
                ))
            })?
        }
    };
    if at < compacted.max(1) || at > newest {
        let oldest = compacted.max(1);
        return Err(Error::Refused(format!("the image holds revisions {oldest} to {newest}, not {at}")));
    }
    Ok(at)
}

fn draft_of(data_dir: &Path) -> Result<PathBuf, Error> {
    let name = data_dir
        .file_name()
        .ok_or_else(|| Error::Refused(format!("{} cannot be made: it has no name", data_dir.display())))?;
    let above = parent(data_dir);
    fs::create_dir_all(above).map_err(Error::file("create", above))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(".restoring");
    Ok(data_dir.with_file_name(draft))
}

/// Makes the draft's directory ours and empty.
fn lock(draft: &Path) -> Result<fs::File, Error> {
    let lock = found::lock_directory(draft).map_err(|error| Error::Refused(error.to_string()))?;
    for entry in fs::read_dir(draft).map_err(Error::file("look into", draft))? {
        let entry = entry.map_err(Error::file("look into", draft))?;
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            Ok(_) if entry.file_name() == "lock" => Ok(()),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        removed.map_err(Error::file("remove", &path))?;
    }
    Ok(lock)
}

fn write(plan: &Plan, seen: &Seen, at: i64, draft: &Path) -> Result<Restored, Error> {
    let image = seen.header;
    let founders = found::restored(&plan.cluster_token, &plan.members, &identity_of(plan, &image, at));
    let identity = founders.identity(&plan.name).ok_or_else(|| Error::Refused("not a member".to_owned()))?;
    let ends = plan.mark_compacted || plan.bump > 0 || at < image.revision;
    let revision = image.revision.checked_add(plan.bump).filter(|revision| *revision < i64::MAX / 2);
    let revision = revision.ok_or_else(|| Error::Refused(format!("a bump of {} is too large", plan.bump)))?;
    let facts = Facts { revision, compacted: if ends { revision } else { image.compacted } };
    let state = draft.join("state");
    let engine = RocksEngine::open(&state)?;
    let mut writer = Writer {
        engine: &engine,
        batch: Batch::default(),
        bytes: 0,
        content: Content::new(facts.compacted, facts.revision),
        at,
        keep_times: !ends,
        leases: &seen.leases,
        head: Bytes::new(),
    };
    let mut decoder = file::open(&plan.image)?;
    while let Some(chunk) = decoder.chunk()? {
        for (key, value) in chunk {
            writer.entry(key, value)?;
        }
    }
    if decoder.header() != image {
        return Err(Error::Refused("the image changed while it was read".to_owned()));
    }
    facts::write(facts, &mut writer.batch);
    facts::write_position(raft::founding_position(&founders.members), &mut writer.batch);
    writer.commit()?;
    let (hash, keys) = (writer.content.hash(), writer.content.keys());
    if !engine.flush()? {
        return Err(Error::Refused(format!("there is too little space in {}", state.display())));
    }
    read_back(engine.reader().as_ref(), facts, hash)?;
    drop(engine);
    sync_directory(&state)?;
    let token = &plan.cluster_token;
    found::record(draft, identity, token).map_err(Error::file("write the identity into", draft))?;
    Ok(Restored {
        image,
        restored: at,
        revision,
        cluster_id: identity.cluster_id,
        member_id: identity.id.0,
        keys,
        hash,
    })
}

/// What tells this cluster apart from any other with the same members: members with different answers here would not
/// have the same state.
fn identity_of(plan: &Plan, image: &Header, at: i64) -> String {
    format!("{image:?} at {at} bump {} compacted {}", plan.bump, plan.mark_compacted)
}

fn read_back(reader: &dyn Reader, facts: Facts, expected: u32) -> Result<(), Error> {
    let found = hash::content(reader, facts.compacted, facts.revision)?;
    if found != expected {
        return Err(Error::Refused(format!(
            "what was written reads back with hash {found:08x} instead of {expected:08x}: the disk is not to be trusted"
        )));
    }
    Ok(())
}

struct Writer<'a> {
    engine: &'a RocksEngine,
    batch: Batch,
    bytes: usize,
    content: Content,
    at: i64,
    keep_times: bool,
    leases: &'a HashSet<i64>,
    /// The group whose newest version was written already.
    head: Bytes,
}

impl Writer<'_> {
    fn entry(&mut self, key: Bytes, value: Bytes) -> Result<(), Error> {
        match key.first() {
            Some(&layout::VERSIONS) => self.version(key, &value),
            Some(&layout::LOG) if layout::log_revision(&key)? > self.at => Ok(()),
            Some(&layout::TIMES) if !self.keep_times => Ok(()),
            // Made anew from the versions: at an older revision other keys hung on the leases.
            Some(&layout::ATTACHMENTS) => Ok(()),
            // Of members that are not those of the new cluster.
            Some(&layout::ALARMS) => Ok(()),
            Some(&layout::LEASES) => {
                // The renewals were counted in a log that is gone.
                let record = LeaseRecord { renewed: 0, ..LeaseRecord::decode(&value)? };
                self.put(key, record.encode())
            }
            Some(&layout::AUTH) if auth::record::is_token(&key) => Ok(()),
            Some(_) | None => self.put(key, value),
        }
    }

    fn version(&mut self, key: Bytes, value: &Bytes) -> Result<(), Error> {
        let (group, revision) = layout::split_version_key(&key)?;
        if revision > self.at {
            return Ok(());
        }
        let mut value = value.clone();
        if group != self.head {
            self.head = Bytes::copy_from_slice(group);
            if let Version::Written { age, version, lease, value: written } = Version::decode(&value)?
                && lease != 0
            {
                if self.leases.contains(&lease) {
                    let attachment = layout::attachment_key(lease, &layout::group_key(group));
                    self.put(attachment.freeze(), Bytes::new())?;
                } else {
                    value = Version::Written { age, version, lease: 0, value: written }.encode();
                }
            }
        }
        self.content.push(&key, &value)?;
        self.put(key, value)
    }

    fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Error> {
        self.bytes += key.len() + value.len();
        self.batch.put(key, value);
        if self.bytes < RESTORE_BATCH_BYTES {
            return Ok(());
        }
        self.commit()
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.engine.write(&std::mem::take(&mut self.batch))?;
        self.bytes = 0;
        Ok(())
    }
}
