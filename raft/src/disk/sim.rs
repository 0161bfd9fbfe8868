//! A disk in memory that knows what was synced, crashes as the contract of [`Disk`] allows, and fails when told to.
//!
//! Deterministic: what a crash keeps follows from its seed, and nothing here asks a clock or a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{Disk, File};

/// What a crash keeps of a write in one piece, in bytes.
const SECTOR: usize = 512;

/// What remains of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: the power failed before anything reached the disk.
    Nothing,
    /// Everything: only the process was killed.
    Everything,
    /// Some: each write is kept, lost, cut short, or kept in some of its sectors, as the seed decides; and of the
    /// changes of names a prefix.
    Torn(u64),
}

/// A simulated disk. Cheap to clone; all clones are one disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when the disk no longer hangs, for writers with a thread.
    moving: Condvar,
    /// The same for writers without.
    pace: watch::Sender<Pace>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    hanging: bool,
    latency: Duration,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    renamings: Vec<Renaming>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    /// Grows with each crash: what was opened before is of no use.
    boots: u64,
    operations: u64,
    syncs: u64,
    crash_after: Option<u64>,
    fail_after: Option<(u64, io::ErrorKind)>,
    fail_sync: bool,
    capacity: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    live: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

/// A change of names that is not durable yet.
#[derive(Clone)]
enum Renaming {
    Set(PathBuf, usize),
    Remove(PathBuf),
    Move(PathBuf, PathBuf),
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Move(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn concerns(&self, directory: &Path) -> bool {
        let (Self::Set(path, _) | Self::Remove(path) | Self::Move(_, path)) = self;
        path.parent() == Some(directory)
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl State {
    /// Counts an operation that changes something, and lets it fail if it should.
    fn operate(&mut self, boot: u64) -> io::Result<()> {
        self.alive(boot)?;
        if self.crash_after.is_some_and(|after| self.operations >= after) {
            return Err(io::Error::other("the simulated machine crashed"));
        }
        if let Some((after, kind)) = self.fail_after
            && self.operations >= after
        {
            self.fail_after = None;
            return Err(io::Error::new(kind, "as the simulation wants"));
        }
        self.operations += 1;
        Ok(())
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        match boot == self.boots {
            true => Ok(()),
            false => Err(io::Error::other("opened before the simulated machine crashed")),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].live.len() as u64).sum()
    }

    fn rename_live(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    /// Fails when so many bytes more do not fit.
    fn grow(&self, bytes: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if bytes > 0 && self.used() + bytes > capacity => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn crash(&mut self, crash: Crash) {
        let mut random = Random(match crash {
            Crash::Torn(seed) => seed,
            Crash::Nothing | Crash::Everything => 0,
        });
        let kept = match crash {
            Crash::Nothing => 0,
            Crash::Everything => self.renamings.len(),
            Crash::Torn(_) => random.below(self.renamings.len() as u64 + 1) as usize,
        };
        for renaming in std::mem::take(&mut self.renamings).into_iter().take(kept) {
            renaming.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for inode in &mut self.inodes {
            for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
                match crash {
                    Crash::Nothing => {}
                    Crash::Everything => put(&mut inode.durable, offset, &bytes),
                    Crash::Torn(_) => tear(&mut inode.durable, offset, &bytes, &mut random),
                }
            }
            inode.live = inode.durable.clone();
        }
        self.boots += 1;
        self.locks.clear();
        self.crash_after = None;
        self.fail_after = None;
        self.fail_sync = false;
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

/// Writes what a torn write leaves.
fn tear(content: &mut Vec<u8>, offset: u64, bytes: &[u8], random: &mut Random) {
    match random.below(4) {
        0 => {}
        1 => put(content, offset, bytes),
        2 => put(content, offset, &bytes[..random.below(bytes.len() as u64 + 1) as usize]),
        _ => {
            let mut at = 0;
            while at < bytes.len() {
                let in_sector = SECTOR - (offset as usize + at) % SECTOR;
                let end = (at + in_sector).min(bytes.len());
                if random.below(2) == 0 {
                    put(content, offset + at as u64, &bytes[at..end]);
                }
                at = end;
            }
        }
    }
}

/// SplitMix64: enough to choose what a crash keeps.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl SimDisk {
    /// The machine stops and starts: what was synced remains, the rest as `crash` says. Files opened before fail from now on.
    pub fn crash(&self, crash: Crash) {
        self.shared.state.lock().crash(crash);
    }

    /// Operations that changed, or were to change, something so far: creations, writes, syncs, changes of names.
    pub fn operations(&self) -> u64 {
        self.shared.state.lock().operations
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.shared.state.lock().syncs
    }

    /// From operation number `operations` on everything fails, until [`crash`](Self::crash).
    pub fn crash_after(&self, operations: u64) {
        self.shared.state.lock().crash_after = Some(operations);
    }

    /// The one operation after `operations` more fails with `kind`, once.
    pub fn fail_after(&self, operations: u64, kind: io::ErrorKind) {
        let mut state = self.shared.state.lock();
        state.fail_after = Some((state.operations + operations, kind));
    }

    /// The next sync of a file fails, once.
    pub fn fail_sync(&self) {
        self.shared.state.lock().fail_sync = true;
    }

    /// Bytes that files may take together; `None` for no bound. What is there stays there.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state.lock().capacity = bytes;
    }

    /// Bytes that files take together.
    pub fn used(&self) -> u64 {
        self.shared.state.lock().used()
    }

    /// Writes and syncs hang, or no longer do.
    pub fn hang(&self, hanging: bool) {
        self.shared.pace.send_modify(|pace| pace.hanging = hanging);
        self.shared.moving.notify_all();
    }

    /// Every round of writes takes so long, for logs that write without a thread.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.pace.send_modify(|pace| pace.latency = latency);
    }

    /// Flips a bit of a file, of what is durable and what is not.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let inode = *state.names.get(path).ok_or_else(|| not_found(path))?;
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        let inode = &mut state.inodes[inode];
        for content in [&mut inode.durable, &mut inode.live] {
            if let Some(byte) = content.get_mut(byte) {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    /// The files and their sizes.
    pub fn files(&self) -> BTreeMap<PathBuf, u64> {
        let state = self.shared.state.lock();
        let sizes =
            state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[*inode].live.len() as u64));
        sizes.collect()
    }

    /// A second disk with the same content and no faults.
    pub fn duplicate(&self) -> Self {
        let state = self.shared.state.lock();
        let copy = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            renamings: state.renamings.clone(),
            directories: state.directories.clone(),
            ..State::default()
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(copy), ..Shared::default() }) }
    }

    fn operate<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        let boot = state.boots;
        state.operate(boot)?;
        act(&mut state)
    }

    fn file(&self, inode: usize, boot: u64) -> Arc<dyn File> {
        Arc::new(SimFile { shared: Arc::clone(&self.shared), inode, boot })
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let above = path.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned);
        state.directories.extend(above);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.shared.state.lock();
        if !state.directories.contains(directory) {
            return Err(not_found(directory));
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let (inode, boot) = self.operate(|state| {
            if !path.parent().is_some_and(|parent| state.directories.contains(parent)) {
                return Err(not_found(path));
            }
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.rename_live(Renaming::Set(path.to_owned(), inode));
            Ok((inode, state.boots))
        })?;
        Ok(self.file(inode, boot))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let state = self.shared.state.lock();
        let inode = *state.names.get(path).ok_or_else(|| not_found(path))?;
        Ok(self.file(inode, state.boots))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|state| {
            if !state.names.contains_key(from) {
                return Err(not_found(from));
            }
            state.rename_live(Renaming::Move(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(|state| {
            if !state.names.contains_key(path) {
                return Err(not_found(path));
            }
            state.rename_live(Renaming::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.operate(|state| {
            let (durable, pending) = std::mem::take(&mut state.renamings)
                .into_iter()
                .partition(|item: &Renaming| item.concerns(directory));
            let durable: Vec<Renaming> = durable;
            state.renamings = pending;
            durable.iter().for_each(|renaming| renaming.apply(&mut state.durable_names));
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.shared.state.lock();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "locked"));
        }
        Ok(Box::new(Guard { shared: Arc::clone(&self.shared), path: path.to_owned(), boot: state.boots }))
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let state = self.shared.state.lock();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        let mut pace = self.shared.pace.subscribe();
        Box::pin(async move {
            loop {
                let latency = match pace.wait_for(|pace| !pace.hanging).await {
                    Ok(pace) => pace.latency,
                    Err(_) => return,
                };
                if latency.is_zero() {
                    return;
                }
                tokio::time::sleep(latency).await;
                // It may hang since: who goes on now would hold up everybody on this thread.
                if !pace.borrow().hanging {
                    return;
                }
            }
        })
    }
}

/// Gives a lock back, unless a crash did.
struct Guard {
    shared: Arc<Shared>,
    path: PathBuf,
    boot: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if state.boots == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    shared: Arc<Shared>,
    inode: usize,
    boot: u64,
}

impl SimFile {
    fn operate<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        while self.shared.pace.borrow().hanging {
            self.shared.moving.wait(&mut state);
        }
        state.operate(self.boot)?;
        act(&mut state)
    }

    fn write(state: &mut State, inode: usize, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        state.grow(end.saturating_sub(state.inodes[inode].live.len() as u64))?;
        let inode = &mut state.inodes[inode];
        put(&mut inode.live, offset, &bytes);
        inode.unsynced.push((offset, bytes));
        Ok(())
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.shared.state.lock();
        state.alive(self.boot)?;
        Ok(state.inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.shared.state.lock();
        state.alive(self.boot)?;
        let content = state.inodes[self.inode].live.get(offset as usize..).unwrap_or_default();
        let read = content.len().min(buffer.len());
        buffer[..read].copy_from_slice(&content[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.operate(|state| Self::write(state, self.inode, offset, bytes.to_vec()))
    }

    fn preallocate(&self, size: u64) -> io::Result<()> {
        self.operate(|state| {
            let from = state.inodes[self.inode].live.len() as u64;
            match size.saturating_sub(from) {
                0 => Ok(()),
                more => Self::write(state, self.inode, from, vec![0; more as usize]),
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        let due = {
            let mut state = self.shared.state.lock();
            if std::mem::take(&mut state.fail_sync) {
                state.fail_after = Some((state.operations, io::ErrorKind::Other));
            }
            state.fail_after.is_some()
        };
        let synced = self.operate(|state| {
            state.syncs += 1;
            let inode = &mut state.inodes[self.inode];
            for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
                put(&mut inode.durable, offset, &bytes);
            }
            Ok(())
        });
        let mut state = self.shared.state.lock();
        if synced.is_err() && due && state.fail_after.is_none() {
            // As Linux does: what could not be written counts as clean, can still be read, and is never written.
            state.inodes[self.inode].unsynced.clear();
        }
        synced
    }
}
