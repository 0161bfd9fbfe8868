//! Judges what clients of a store saw. Pure: no clock, no I/O, no randomness, and nothing of ours but the words.
//!
//! ```text
//!  clients ──► History of calls ──► tighten (outcomes that a watch has shown) ──► linear::check ──► Verdict
//!  one complete watch ──► ChangeLog ──┬──────────▲
//!  other watches ─────────────────────┼─► watch::check
//!  serializable reads ────────────────┴─► ChangeLog::is_past
//!  holders of locks, a watch of their keys ──► lock::check_all
//! ```
//!
//! | module | judges | tags |
//! |---|---|---|
//! | [`linear`] | any history against any sequential model: Wing and Gong's search with Lowe's memory | S4 |
//! | [`kv`] | the model: one revision per change, answers carry revisions | S1, S7 |
//! | [`bank`] | the model, and the log of changes, for transactions over two keys | S1, S5, S7 |
//! | [`log`] | the order of changes; what was acknowledged is in it; past states | S1, S4, S5 |
//! | [`watch`] | ordered, unique, atomic, reliable, resumable, bookmarkable, filtered, with true previous values | W1-W13 |
//! | [`lock`] | one holder at a time, tokens that grow, writes by holders only, leases that last | L1, L3 |
//!
//! A call without an answer may have happened at any time after it was made, or never. The search allows for both;
//! [`kv::tighten`] first settles those whose effect was seen. The search has a budget of steps: a history that exhausts
//! it is not accepted.
//!
//! The checkers are checked: `tests/scripts` holds good histories that must pass and bad ones that must not.

pub mod bank;
pub mod kv;
pub mod linear;
pub mod lock;
pub mod log;
pub mod script;
pub mod watch;
