//! Who may do what: users, roles, permissions and the tokens that stand for users.
//!
//! ```text
//! request -> Credentials -> Caller --------------------> Command + Caller -> log -> apply: State::check, then run
//!             (token, common name)   \                                               (the very command that runs)
//!                                     +-> read: ticket, State::check, read, ticket still valid? else again
//! ```
//!
//! Everything about users is part of the replicated state: it changes by commands ([`Change`]), is stored by the engine
//! beside the keys, and is in every snapshot, image and backup. [`State`] is what is in memory of it, a value: a change
//! makes the next one.
//!
//! # Promises
//!
//! | tag | promise | kept by |
//! |---|---|---|
//! | C2 | what is authorized is what is executed: the check looks at the command that runs, at the moment it runs | [`check`], [`machine`](crate::machine) |
//! | A1 | a read never shows a state that its check did not see: users and keys change together for readers too | [`Published`] |
//! | A2 | no password and no token is stored or logged, only what they are recognized by | [`password`], [`token`] |
//! | S5 | applying a change needs no clock, no randomness and no slow hash: those are in the command | [`Change`] |
//!
//! # What differs from etcd on purpose
//!
//! Tokens are replicated like leases, not kept by each member: one that was issued or renewed anywhere is good
//! everywhere, after a restart too. Watches end when the right to their keys does. A range is authorized as a set of
//! keys, so a request for nothing (an end before its start) is treated as one for its first key. A user who was
//! deleted and added again is another one: what was signed for the first is not good for the second.
//!
//! This module knows names, key ranges and commands. It must not know gRPC.

pub mod caller;
pub mod change;
pub mod check;
pub mod draft;
pub mod jwt;
pub mod password;
pub mod published;
pub mod record;
pub mod span;
pub mod state;
pub mod token;

pub use caller::{Caller, Credentials, Identity};
pub use change::Change;
pub use draft::Draft;
pub use published::{Published, Ticket};
pub use state::{Permission, PermissionKind, Role, State, User};

/// The user who must exist before auth can be switched on, and the role that may do everything.
pub const ROOT: &str = "root";
