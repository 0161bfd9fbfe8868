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
//! A run that saw too little traffic before or after the fault says nothing and fails as invalid. `make test` runs each
//! class of fault once with a fixed seed; `cargo xtask faults --runs N --seed S` runs them at random for as long as one likes.

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
pub mod run;
pub mod space;
pub mod teller;
pub mod watcher;
pub mod weather;
pub mod workload;
