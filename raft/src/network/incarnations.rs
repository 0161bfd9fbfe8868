//! Which life of a member is which. A member that lost its disk forgot its votes and its entries; under its old id it would
//! vote a second time, or elect somebody who lacks what it had acknowledged. So each log has a number from its creation,
//! every call and every answer carries it, and a member that is met with another number than before is refused.
//!
//! What a leader knows travels with its signs of life, so members learn of those they never talk to, and a member that lost
//! its disk is told so. What was learned lies in a file beside the log; members that are gone are kept, so that their ids
//! are not given away again.
//!
//! The file, and what travels: one line for each member, id and number in hexadecimal; separated by commas on the way.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk::Disk;
use crate::limits;
use crate::member::MemberId;

const NAME: &str = "incarnations";

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Incarnations {
    shared: Arc<Shared>,
}

struct Shared {
    own: MemberId,
    own_incarnation: OnceLock<u64>,
    known: Mutex<BTreeMap<MemberId, u64>>,
    /// Grows when something was learned.
    version: watch::Sender<u64>,
}

/// A member is not who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistaken {
    /// The other one.
    Peer(MemberId),
    /// This one.
    Ourselves(MemberId),
}

impl std::fmt::Display for Mistaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Peer(id) | Self::Ourselves(id)) = self;
        write!(
            f,
            "member {id} came back without the data it had; it must not take part under its old id: remove it from the \
             group and add it as a new member"
        )
    }
}

impl Incarnations {
    pub(crate) fn new(own: MemberId) -> Self {
        let (own_incarnation, known, version) = (OnceLock::new(), Mutex::default(), watch::Sender::new(0));
        Self { shared: Arc::new(Shared { own, own_incarnation, known, version }) }
    }

    /// Tells who we are, once the log is open.
    pub(crate) fn adopt(&self, incarnation: u64, known: BTreeMap<MemberId, u64>) {
        self.shared.own_incarnation.get_or_init(|| incarnation);
        self.shared.known.lock().extend(known);
    }

    /// Our own number.
    pub(crate) fn own(&self) -> Option<u64> {
        self.shared.own_incarnation.get().copied()
    }

    /// Whether a member of this id was ever met.
    pub(crate) fn has_met(&self, id: MemberId) -> bool {
        self.shared.known.lock().contains_key(&id)
    }

    /// Meets a member, or hears of it.
    pub(crate) fn meet(&self, id: MemberId, incarnation: u64) -> Result<(), Mistaken> {
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(crate::bugs::Bug::M16) {
            return Ok(());
        }
        if id == self.shared.own {
            return match self.own().is_none_or(|own| own == incarnation) {
                true => Ok(()),
                false => Err(Mistaken::Ourselves(id)),
            };
        }
        let mut known = self.shared.known.lock();
        match known.get(&id) {
            Some(former) if *former == incarnation => Ok(()),
            Some(_) => Err(Mistaken::Peer(id)),
            None => {
                if known.len() < limits::INCARNATIONS_MAX {
                    known.insert(id, incarnation);
                    self.shared.version.send_modify(|version| *version += 1);
                }
                Ok(())
            }
        }
    }

    /// Hears what another member knows. Only what concerns us is an error: of the others we may know better.
    pub(crate) fn hear(&self, known: &str) -> Result<(), Mistaken> {
        for (id, incarnation) in parse(known, ',') {
            match self.meet(id, incarnation) {
                Err(Mistaken::Ourselves(id)) => return Err(Mistaken::Ourselves(id)),
                Err(Mistaken::Peer(_)) | Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What we know of the members that `concern` chooses, as it travels.
    pub(crate) fn tell(&self, concern: impl Fn(MemberId) -> bool) -> String {
        let known = self.shared.known.lock();
        let lines: Vec<String> = known.iter().filter(|(id, _)| concern(**id)).map(line).collect();
        lines.join(",")
    }

    /// Writes what is learned, until aborted.
    pub(crate) async fn keep(self, disk: Arc<dyn Disk>, directory: PathBuf) {
        let mut version = self.shared.version.subscribe();
        version.mark_changed();
        while version.changed().await.is_ok() {
            version.borrow_and_update();
            let known = self.shared.known.lock().clone();
            disk.ready().await;
            // It is learned again from the next call, so losing it is no damage.
            if let Err(error) = write(&*disk, &directory, &known) {
                tracing::warn!(%error, "cannot write down which members were met");
            }
        }
    }
}

fn line((id, incarnation): (&MemberId, &u64)) -> String {
    format!("{:x} {incarnation:x}", id.0)
}

fn parse(text: &str, separator: char) -> impl Iterator<Item = (MemberId, u64)> {
    text.split(separator).filter_map(|line| {
        let (id, incarnation) = line.trim().split_once(' ')?;
        Some((MemberId(u64::from_str_radix(id, 16).ok()?), u64::from_str_radix(incarnation, 16).ok()?))
    })
}

/// Reads what was written down. A missing file is an empty one.
pub(crate) fn read(disk: &dyn Disk, directory: &std::path::Path) -> io::Result<BTreeMap<MemberId, u64>> {
    let file = match disk.open(&directory.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        file => file?,
    };
    let mut bytes = vec![0; file.size()?.min(limits::INCARNATIONS_MAX as u64 * 64) as usize];
    let read = file.read_at(0, &mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes[..read]), '\n').collect())
}

fn write(disk: &dyn Disk, directory: &std::path::Path, known: &BTreeMap<MemberId, u64>) -> io::Result<()> {
    let text: String = known.iter().map(|known| line(known) + "\n").collect();
    let fresh = directory.join("incarnations.new");
    let file = disk.create(&fresh)?;
    file.write_at(0, text.as_bytes())?;
    file.sync()?;
    disk.rename(&fresh, &directory.join(NAME))?;
    disk.sync_dir(directory)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::SimDisk;

    fn of(own: u64, incarnation: u64) -> Incarnations {
        let incarnations = Incarnations::new(MemberId(own));
        incarnations.adopt(incarnation, BTreeMap::new());
        incarnations
    }

    #[test]
    fn a_member_is_who_it_was_when_first_met() {
        let one = of(1, 11);
        assert_eq!(one.meet(MemberId(2), 22), Ok(()));
        assert_eq!(one.meet(MemberId(2), 22), Ok(()));
        assert_eq!(one.meet(MemberId(2), 23), Err(Mistaken::Peer(MemberId(2))));
        assert!(one.has_met(MemberId(2)) && !one.has_met(MemberId(3)));
    }

    #[test]
    fn what_one_knows_the_others_hear() {
        let (one, three) = (of(1, 11), of(3, 33));
        one.meet(MemberId(2), 22).unwrap();
        one.meet(MemberId(3), 33).unwrap();
        three.hear(&one.tell(|_| true)).unwrap();
        assert_eq!(three.meet(MemberId(2), 99), Err(Mistaken::Peer(MemberId(2))));
        assert_eq!(of(2, 99).hear(&one.tell(|_| true)), Err(Mistaken::Ourselves(MemberId(2))));
        assert_eq!(three.hear("rubbish, 1, x y, 5 zz,,"), Ok(()));
    }

    #[test]
    fn what_was_learned_is_read_again() {
        let disk = SimDisk::default();
        let directory = Path::new("/d");
        disk.create_dir(directory).unwrap();
        assert!(read(&disk, directory).unwrap().is_empty());
        let known = BTreeMap::from([(MemberId(2), 22), (MemberId(u64::MAX), 0)]);
        write(&disk, directory, &known).unwrap();
        disk.crash(crate::disk::Crash::Nothing);
        assert_eq!(read(&disk, directory).unwrap(), known);
    }
}
