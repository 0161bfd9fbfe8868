//! Copies of the state that outlive the cluster: one file, a directory of many, and the way back.
//!
//! ```text
//!   Maintenance.Snapshot ──► export ──► image (one file, verifiable)  ──► restore ──► data directories of a new cluster
//!   --backup-dir, on a schedule ──► directory (files shared between backups) ──┘
//! ```
//!
//! An image is the content of the engine at one moment as plain entries, not files of the engine: it can be read by
//! any later version, checked without opening a database, and restored at any revision it has history of.
//!
//! A restored cluster is a new one. Its identity follows from the image, so members that were restored from
//! different images, or not at all, do not take each other for members. Its revisions start beyond any that the old
//! cluster has shown, and everything before is compacted: a watch or a cache that survived from the old cluster is told so
//! instead of being served a history that did not happen.
//!
//! This module knows tables and files. It must not know Raft beyond what a founding position is.

pub mod ctl;
pub mod directory;
pub mod error;
pub mod export;
pub mod file;
pub mod image;
pub mod restore;

pub use error::Error;
pub use image::Header;
