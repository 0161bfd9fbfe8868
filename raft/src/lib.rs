//! Replicates bytes with Raft; knows no keys.
//!
//! # The problem
//!
//! A service that keeps state must not lose it with a machine, and must not serve two versions of it. This crate takes
//! commands, which are bytes, and hands them to a [`StateMachine`] on every member of a group, in one order, exactly
//! once, each only after a majority has it on disk.
//!
//! # The promise
//!
//! A command acknowledged by [`Handle::propose`] is applied on every member that lives long enough, survives the loss
//! of any minority of the members and of the power of all of them, and is seen by every [`Handle::read_index`] that
//! begins after the acknowledgement, on whatever member. Every member takes every request.
//!
//! # The picture
//!
//! ```text
//!            propose, read_index, members                       other members
//!                     │                                         ▲           │
//! ┌───────────────────▼─────────────────────────────────────────┼───────────▼──────┐
//! │ Handle ── Route: here if we lead, else Courier ─────────► Peers      Service   │
//! │              │      Reads: one quorum round per burst       ▲           │      │
//! │              ▼                                              │           ▼      │
//! │ adapter:   Group ───────────────── openraft ────────────────┴─ one pipelined   │
//! │                    │                           │               stream per peer │
//! │                    ▼                           ▼                               │
//! │              Log (segments)              Machine ──► dyn StateMachine          │
//! │              one writer thread,          batches,    (the caller's)            │
//! │              one sync for all            snapshots                             │
//! └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | module | knows | must not know |
//! |---|---|---|
//! | `node`, `handle`, `route`, `forward`, `reads` | what callers want, who leads | how agreement is reached |
//! | `adapter` | openraft, and nothing else may | disk, sockets |
//! | `log` | entries, votes, syncs, damage | why they are written |
//! | [`disk`] | files, names, what is durable | what they hold |
//! | `watchdog` | whether the disk moves | what is written to it |
//! | `snapshot` | directories and chunks | what the files hold |
//! | `network` | urls, keys, identities, deadlines | what frames mean |
//! | `codec`, `record` | the layout of everything on disk and wire | behaviour |
//!
//! # The life of a write
//!
//! 1. `propose` on a member that does not lead sends the command to the leader, in one message with others that are ready, and waits; on
//!    the leader it enters the queue of the core. The core takes what is queued, gives each command an index, and appends them.
//! 2. The entries are in memory and readable. At the same time the writer thread seals, writes and syncs them, and one
//!    stream per peer carries them away. Messages are pipelined: the next leaves while the peer syncs the last.
//!    Whatever arrives during a sync shares the next one; nobody waits for company.
//! 3. When a majority, which may or may not include the leader, has synced an entry, it is committed. The machine gets all
//!    committed commands at hand as one [`Batch`], on a thread that may block, and the responses go out.
//!
//! The bytes of a command are shared on the way: copied once into the message to each peer, once into the log.
//!
//! # The life of a read
//!
//! `read_index` joins the next round. A round asks the leader for its commit index; the leader first commits an entry of
//! its own term, then has a majority confirm that it still leads, after the question was asked. The reader
//! returns when the local machine has applied that index. No clock is trusted: a leader that was paused for an hour
//! fails the round. Readers that arrive during a round share the next. A leader that is the only voter needs nobody's word, and what
//! was acknowledged is what it has applied: it answers in place.
//!
//! # Snapshots
//!
//! Every [`Options::snapshot_entries`] entries, or [`Options::snapshot_bytes`] of commands, the machine is flushed, and the log
//! before that may go, except the newest [`Options::log_keep_entries`], or fewer where they take more than
//! [`Options::log_keep_bytes`]. No image is written: that happens when a member lacks what is no longer in the log. Then
//! [`StateMachine::checkpoint`] makes one, its files travel in chunks with checksums, are synced, and
//! [`StateMachine::restore`] swaps them in. A crash before the swap leaves files that are deleted at the next start;
//! a crash after it leaves a log that ends before the state, which is purged.
//!
//! # Invariants
//!
//! | tag | invariant | kept by |
//! |---|---|---|
//! | S2 | an acknowledged write survives kill -9 of every member at once | completions are called after the sync; the log is replayed up to what was committed |
//! | S4 | a linearizable read is never older than any write acknowledged before it began, pauses included | a quorum round per burst, begun after every reader of it came |
//! | S5 | members at the same index have the same state | the machine sees commands only, in log order; positions travel with their effects |
//! | S6 | vote and entries are durable before anyone is told; completions are in order; no holes | one queue, one thread, one write-ahead log for both |
//! | S7 | an I/O error stops the member, sync is never retried, a damaged member never votes, leads or serves | the fuse; the log is verified as a whole before the member starts |
//! | S8 | every queue, batch, buffer, cache and message has a bound | `limits`: callers wait or are told [`Error::Overloaded`] |
//!
//! How damage is found: each entry carries a checksum over its index and bytes, and a chain over all entries before it;
//! each record of the log says what was durable before it, so that a torn tail, which nobody was told of, is dropped and
//! anything else that is missing is noticed; a mark beside the log remembers how long it was; no entry may be newer
//! than the vote. A member that finds damage refuses to start and must be replaced by one with a new id.
//!
//! A member that lost its disk forgot its votes. Each log has a random number from its creation; calls and answers carry it,
//! members remember it of each other, and one that returns with another number ends with an error that says to add it
//! under a new id. Ids of members that were met are not given away again.
//!
//! A disk that hangs makes a leader step down within one election timeout, and no member stands for election before its disk
//! moves again. A full disk is no error: space is made before anything is written, some is kept for votes, and
//! proposals are refused with [`Error::NoSpace`] until there is more; reads go on. What [`Options::log_reserve_bytes`] says is left to
//! the state, which needs it to let the log go. Whoever minds the disk says so in time ([`Handle::set_short_of_space`]): then the log keeps little.
//!
//! # Limits
//!
//! Commands up to [`Options::command_bytes_max`] (8 MiB); some 64 thousand proposals in flight per member; membership
//! and position within 64 KiB, which is some hundreds of members. After a power failure the mark may be some seconds
//! old, so damage to the very last write before it looks like a torn tail and goes unnoticed; damage before that does not.
//! A caller whose command is under way while its leader is removed may wait for its whole timeout and is then told
//! [`Error::Unknown`].
//!
//! # What is deliberately not done
//!
//! No lease reads: they need clocks to run alike. No retry of a command whose outcome is unknown: only the layer
//! above can tell whether it is idempotent. No repair of a damaged log from peers: a new member is simpler and as fast.
//! No listening socket: the caller serves [`Node::service`] beside whatever else it serves.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(machine: std::sync::Arc<dyn kontiki_raft::StateMachine>) -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::BTreeMap;
//! use kontiki_raft::{Member, MemberId, Node, Options};
//! use tokio_util::sync::CancellationToken;
//!
//! let options = Options { id: MemberId(1), cluster_id: 7, data_dir: "/var/lib/x/raft".into(), ..Options::default() };
//! let node = Node::start(options, machine, None).await?;
//! let (handle, service, shutdown) = (node.handle(), node.service(), CancellationToken::new());
//! tokio::spawn(tonic::transport::Server::builder().add_service(service).serve("127.0.0.1:2380".parse()?));
//! let running = tokio::spawn(node.run(shutdown.clone()));
//! let me = Member { name: "one".into(), peer_url: "http://127.0.0.1:2380".into(), client_urls: vec![] };
//! handle.initialize(BTreeMap::from([(MemberId(1), me)])).await?;
//! let proposed = handle.propose("command".into()).await?;
//! assert!(handle.read_index().await? >= proposed.index);
//! shutdown.cancel();
//! running.await??;
//! # Ok(())
//! # }
//! ```

mod adapter;
#[cfg(feature = "known-bugs")]
#[doc(hidden)]
pub mod bugs;
mod codec;
pub mod disk;
mod entry;
mod error;
mod forward;
mod founding;
mod fuse;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod limits;
mod log;
mod member;
pub mod meters;
mod network;
mod node;
mod options;
mod reads;
mod record;
mod route;
mod seams;
mod snapshot;
mod state_machine;
mod watchdog;

pub use error::Error;
pub use founding::founding_position;
pub use handle::Handle;
pub use member::{Leadership, Member, MemberId, Proposed, Status};
pub use meters::Meters;
pub use network::{PeerTls, Service};
pub use node::Node;
pub use options::Options;
pub use seams::{Dial, Seams, Seen, Voted, Witness, Work};
pub use state_machine::{Batch, Committed, LogIndex, StateMachine, StateMachineError, Term};
