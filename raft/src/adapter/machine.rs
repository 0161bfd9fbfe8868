//! The caller's state machine as openraft's state machine.
//!
//! A snapshot costs next to nothing: it is the promise that the state is durable up to a position, so that the log
//! before it may go. The image of the state is made only when a member needs it, and is then newer than the
//! promise, which is as good.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Command, Types, convert};
use crate::codec;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::record::Position;
use crate::seams::{Seen, Witness, Work};
use crate::snapshot::{Discard, Images};
use crate::state_machine::{Batch, Committed, LogIndex, StateMachine, StateMachineError, Term};

/// The image of a state: to be made by the machine that has it, or received.
#[derive(Clone)]
pub(crate) enum Image {
    /// The machine whose state it is.
    Here(Machine),
    /// Files received from another member. They stay until they are installed, even if who sent them is gone meanwhile.
    Received(Arc<Discard>),
}

/// Cheap to clone; all clones are one machine.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Arc<dyn StateMachine>,
    images: Images,
    fuse: Fuse,
    state: Mutex<State>,
    /// The number of the first index not applied.
    applied: watch::Sender<u64>,
    unflushed: Unflushed,
    work: Work,
    witness: Option<Arc<dyn Witness>>,
}

/// Bytes of commands that were applied and are not known to be durable in the state.
struct Unflushed {
    bytes: AtomicU64,
    bytes_max: u64,
    exceeded: Notify,
}

impl Unflushed {
    fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max, exceeded: Notify::new() }
    }

    fn add(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.bytes_max {
            self.exceeded.notify_one();
        }
    }

    /// Returns when there are too many. Cancel-safe.
    async fn exceeded(&self) {
        loop {
            self.exceeded.notified().await;
            // It may have been before the last flush.
            if self.bytes.load(Ordering::Relaxed) >= self.bytes_max {
                return;
            }
        }
    }
}

#[derive(Default)]
struct State {
    position: Position,
    /// Up to where the state is durable, and known to be.
    snapshot: Option<Position>,
}

fn failed(action: &'static str, error: StateMachineError) -> Error {
    Error::storage(action, error)
}

/// The index after the last one applied.
pub(crate) fn next_index(position: &Position) -> u64 {
    position.applied.map_or(0, |id| id.index + 1)
}

impl Machine {
    /// Reads where the state machine stands. Blocks.
    pub(crate) fn open(
        machine: Arc<dyn StateMachine>,
        images: Images,
        fuse: Fuse,
        work: Work,
        witness: Option<Arc<dyn Witness>>,
        unflushed_bytes_max: u64,
    ) -> Result<Self, Error> {
        let position =
            machine.position().map_err(|error| failed("reading the position of the state", error))?;
        let position = decode(position)?;
        let snapshot = position.applied.map(|_| position.clone());
        let applied = watch::Sender::new(next_index(&position));
        let state = Mutex::new(State { position, snapshot });
        let unflushed = Unflushed::new(unflushed_bytes_max);
        let shared = Shared { machine, images, fuse, state, applied, unflushed, work, witness };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> Position {
        self.shared.state.lock().position.clone()
    }

    /// Returns when so much was applied that it should be made durable. Cancel-safe.
    pub(crate) async fn heavy(&self) {
        self.shared.unflushed.exceeded().await;
    }

    /// The first index not applied.
    pub(crate) fn applied_next(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// Follows it.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Runs `work` where it may block. A failure blows the fuse.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared.fuse.check()?;
        let shared = Arc::clone(&self.shared);
        let result = self.shared.work.run(move || work(&shared)).await;
        let result = result.unwrap_or_else(|error| Err(Error::storage(action, error)));
        result.inspect_err(|error| self.shared.fuse.blow(error))
    }

    /// Applies a batch in place, if the machine can do that. A failure blows the fuse.
    fn at_once(&self, action: &'static str, batch: &Batch) -> Result<Option<Vec<Bytes>>, Error> {
        self.shared.fuse.check()?;
        // A panic elsewhere ends a thread that is not ours; here it would end openraft's task, and nobody would say why.
        let applied = catch_unwind(AssertUnwindSafe(|| self.shared.machine.apply_at_once(batch)));
        let applied = match applied {
            Ok(applied) => applied.transpose().map_err(|error| failed(action, error)),
            Err(_panic) => Err(Error::damaged(action, "the state machine panicked")),
        };
        applied.inspect_err(|error| self.shared.fuse.blow(error))
    }

    async fn apply_run(&self, run: Run) -> Result<(), Error> {
        let Run { commands, waiting, position, .. } = run;
        if let Some(witness) = &self.shared.witness {
            for Committed { index, term, command } in &commands {
                witness.applied(Seen { index: *index, term: *term, digest: crc32c::crc32c(command) });
            }
        }
        let batch = Batch { commands, position: Bytes::from(codec::encode(&position)) };
        let expected = batch.commands.len();
        let bytes: usize = batch.commands.iter().map(|committed| committed.command.len()).sum();
        let action = "applying to the state";
        let is_small =
            expected <= limits::APPLY_AT_ONCE_COMMANDS_MAX && bytes <= limits::APPLY_AT_ONCE_BYTES_MAX;
        let at_once = if is_small { self.at_once(action, &batch)? } else { None };
        let responses = match at_once {
            Some(responses) => responses,
            None => {
                let apply =
                    move |shared: &Shared| shared.machine.apply(batch).map_err(|error| failed(action, error));
                self.blocking(action, apply).await?
            }
        };
        if responses.len() != expected {
            let detail = format!("{} responses to {expected} commands", responses.len());
            let error = Error::damaged(action, detail);
            self.shared.fuse.blow(&error);
            return Err(error);
        }
        let next = next_index(&position);
        self.shared.state.lock().position = position;
        self.shared.applied.send_replace(next);
        self.shared.unflushed.add(bytes as u64);
        let mut responses = responses.into_iter();
        for Waiting { is_command, responder } in waiting {
            let response = if is_command { responses.next().unwrap_or_default() } else { Bytes::new() };
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        Ok(())
    }

    /// Makes the state durable up to `position` at least, if there is space; returns up to where it is.
    async fn flush(&self, position: Position) -> Result<Position, Error> {
        let action = "flushing the state";
        let flush = move |shared: &Shared| shared.machine.flush().map_err(|error| failed(action, error));
        let bytes = self.shared.unflushed.bytes.load(Ordering::Relaxed);
        let durable = self.blocking(action, flush).await?;
        if durable {
            self.shared.unflushed.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        let mut state = self.shared.state.lock();
        let newer = state.snapshot.as_ref().is_some_and(|known| known.applied >= position.applied);
        if durable && !newer {
            state.snapshot = Some(position);
        }
        Ok(state.snapshot.clone().unwrap_or_default())
    }

    /// Makes everything applied durable.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.flush(self.position()).await.map(drop)
    }

    /// Writes an image of the state. The caller removes it.
    pub(crate) async fn checkpoint(&self) -> Result<(PathBuf, Position), Error> {
        let action = "writing an image of the state";
        self.blocking(action, move |shared| {
            let directory = shared.images.outgoing();
            let position = shared.machine.checkpoint(&directory).map_err(|error| failed(action, error))?;
            Ok((directory, decode(position)?))
        })
        .await
    }

    /// Where work is done that may block.
    pub(super) fn work(&self) -> Work {
        self.shared.work
    }

    /// Where received files go, before they are installed.
    pub(crate) fn images(&self) -> &Images {
        &self.shared.images
    }

    async fn restore(&self, position: Position, image: Arc<Discard>) -> Result<(), Error> {
        let action = "restoring the state from an image";
        let expected = position.clone();
        self.blocking(action, move |shared| {
            shared.machine.restore(&image.path).map_err(|error| failed(action, error))?;
            drop(image);
            let found = shared.machine.position().map_err(|error| failed(action, error))?;
            match decode(found)? {
                found if found == expected => Ok(()),
                found => Err(Error::damaged(action, format!("it holds {found:?} instead of {expected:?}"))),
            }
        })
        .await?;
        let next = next_index(&position);
        let mut state = self.shared.state.lock();
        state.snapshot = Some(position.clone());
        state.position = position;
        self.shared.unflushed.bytes.store(0, Ordering::Relaxed);
        drop(state);
        self.shared.applied.send_replace(next);
        Ok(())
    }

    fn snapshot_of(&self, position: &Position) -> Result<SnapshotOf<Types, Image>, Error> {
        Ok(Snapshot { meta: meta(position)?, snapshot: Image::Here(self.clone()) })
    }
}

fn meta(position: &Position) -> Result<SnapshotMetaOf<Types>, Error> {
    convert::snapshot_meta(position)
        .map_err(|detail| Error::damaged("reading the position of the state", detail))
}

fn decode(position: Option<Bytes>) -> Result<Position, Error> {
    let Some(bytes) = position else { return Ok(Position::default()) };
    codec::decode_owned(&bytes)
        .map_err(|error| Error::damaged("reading the position of the state", error.to_string()))
}

/// Who waits for the outcome of an entry.
struct Waiting {
    is_command: bool,
    responder: Option<ApplyResponder<Types>>,
}

/// Entries that are applied together.
struct Run {
    commands: Vec<Committed>,
    waiting: Vec<Waiting>,
    bytes: usize,
    position: Position,
}

impl Run {
    fn after(position: Position) -> Self {
        Self { commands: Vec::new(), waiting: Vec::new(), bytes: 0, position }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= limits::APPLY_COMMANDS_MAX || self.bytes >= limits::APPLY_BYTES_MAX
    }

    fn push(&mut self, (entry, responder): EntryResponder<Types>) {
        let id = convert::log_id_record(&entry.log_id());
        self.position.applied = Some(id);
        let is_command = match entry.payload {
            EntryPayload::Blank => false,
            EntryPayload::Normal(Command(command)) => {
                self.bytes += command.len();
                self.commands.push(Committed { index: LogIndex(id.index), term: Term(id.term), command });
                true
            }
            EntryPayload::Membership(membership) => {
                self.position.membership_id = Some(id);
                self.position.membership = convert::membership_record(&membership);
                false
            }
        };
        self.waiting.push(Waiting { is_command, responder });
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let meta = meta(&self.position()).map_err(io::Error::other)?;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut run = Run::after(self.position());
        while let Some(item) = entries.next().await {
            run.push(item?);
            if run.is_full() {
                let next = Run::after(run.position.clone());
                self.apply_run(std::mem::replace(&mut run, next)).await.map_err(io::Error::other)?;
            }
        }
        match run.waiting.is_empty() {
            true => Ok(()),
            false => self.apply_run(run).await.map_err(io::Error::other),
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone(), position: self.position() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, image: Image) -> io::Result<()> {
        let (image, position) = match image {
            Image::Received(image) => (image, convert::position(meta)),
            Image::Here(source) => {
                let (path, position) = source.checkpoint().await.map_err(io::Error::other)?;
                (Arc::new(Discard { images: source.images().clone(), path }), position)
            }
        };
        self.restore(position, image).await.map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Image>>> {
        let snapshot = self.shared.state.lock().snapshot.clone();
        snapshot.map(|position| self.snapshot_of(&position)).transpose().map_err(io::Error::other)
    }
}

/// Makes a snapshot of the position it was created at.
pub(crate) struct Builder {
    machine: Machine,
    position: Position,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Image>> {
        let position = self.machine.flush(self.position.clone()).await.map_err(io::Error::other)?;
        self.machine.snapshot_of(&position).map_err(io::Error::other)
    }
}
