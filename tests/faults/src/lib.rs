//! Faults in real processes of a store under load, and whether its clients could tell.
//!
//! ```text
//! Cluster (three processes of kontiki-store, each in a network namespace) ◄── Fault: inject, heal
//!     ▲ ▲ ▲
//!     │ │ └── watchers, resumed on another member when theirs breaks
//!     │ └──── clients, each on one member: put, delete, swap, get
//!     └────── one complete watch at the end: the log of all changes
//! History ──► check: linearizable? nothing acknowledged lost? watches true? the same hash everywhere?
//! ```
//!
//! | clients | do | judged by |
//! |---|---|---|
//! | [`workload`], [`watcher`] | put, delete, swap, get, watch single keys | [`run`] |
//! | [`contender`] | take a lock with short leases, write under its protection, go silent | [`locks`] |
//! | [`teller`] | move money between accounts in transactions of two keys, read all of them | [`bank`] |
//!
//! A run that saw too little traffic before or after the fault says nothing and fails as invalid. So does one whose
//! fault did not strike, as its [`coverage`] tells. `make test` runs each kind of fault with a fixed seed; `cargo xtask faults --runs N --seed S` runs them at random for as long as one likes.

pub mod bank;
pub mod calls;
pub mod cluster;
pub mod contender;
pub mod coverage;
pub mod damage;
pub mod fault;
pub mod full;
pub mod limits;
pub mod locks;
pub mod membership;
pub mod network;
pub mod proxy;
pub mod quota;
pub mod reads;
pub mod run;
pub mod scarcity;
pub mod space;
pub mod teller;
pub mod watcher;
pub mod weather;
pub mod workload;
