//! Takes away what is left in the kernel when a node has been stopped for good: mounts below its directory, and its
//! cgroups. Sandboxes must have been removed before; this is for what they shared, and for what a crash left.

use std::path::Path;

use crate::error::Result;
use crate::sys::{cgroup::Layout, mounts};

/// Unmounts everything below `directory` and removes the cgroup `group` with all below it. That nothing is there is
/// success.
pub fn leftovers(directory: &Path, group: &str) -> Result<()> {
    mounts::unmount_below(directory)?;
    Layout::detect()?.remove(group)
}
