//! Every kernel call of the runtime that is not made by the container library: namespaces, mounts, cgroups, files.

pub mod cgroup;
pub mod files;
pub mod mounts;
pub mod namespaces;
pub mod sockets;
