//! Every decoder of bytes from the network or the disk, fed with bytes that nobody meant.
//!
//! A target is a row of [`TARGETS`]: a function that takes any bytes and must return, without a panic and within bounds
//! of time and memory, and seeds, which are bytes that somebody did mean. Two engines drive the same rows:
//!
//! | engine | finds | run by |
//! |---|---|---|
//! | [`mutate`]: seeded mutations of the seeds and of `corpus/TARGET/*`, the same each time | what was broken since | `make test` |
//! | libFuzzer, guided by coverage | what nobody thought of | `cargo xtask fuzz` |
//!
//! Whatever libFuzzer finds goes into `corpus/TARGET/`, and from then on into `make test`.
//!
//! What is checked beyond the absence of a panic is in each target: what was accepted reads back the same, revisions
//! only grow, two state machines that were given the same agree.

mod backup;
mod content;
mod machine;
pub mod mutate;
mod records;
mod snapshot;
mod wire;

/// One decoder, or a family of them that read the same bytes.
pub struct Target {
    /// As `cargo xtask fuzz --target` takes it, and the name of its folder in `corpus/`.
    pub name: &'static str,
    /// Must return.
    pub run: fn(&[u8]),
    /// Bytes that somebody meant: where mutations start.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "peer-frame", run: wire::peer_frame, seeds: wire::peer_frame_seeds },
    Target { name: "client-request", run: wire::client_request, seeds: wire::client_request_seeds },
    Target { name: "snapshot-stream", run: snapshot::stream, seeds: snapshot::seeds },
    Target { name: "log-record", run: records::log_record, seeds: records::log_record_seeds },
    Target { name: "log-segment", run: records::log_segment, seeds: records::log_segment_seeds },
    Target { name: "command", run: records::command, seeds: records::command_seeds },
    Target { name: "state-record", run: records::state_record, seeds: records::state_record_seeds },
    Target { name: "state-content", run: content::run, seeds: content::seeds },
    Target { name: "image", run: backup::image, seeds: backup::image_seeds },
    Target { name: "engine-image", run: backup::engine_image, seeds: backup::engine_image_seeds },
    Target { name: "backup-manifest", run: backup::manifest, seeds: backup::manifest_seeds },
    Target { name: "machine", run: machine::run, seeds: machine::seeds },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
