//! Every bound of this crate, with unit, value and reason.

/// Largest command any configuration may allow, in bytes. A command travels in one message, and a message of
/// this size takes about a tenth of a second on a 1 Gbit/s link: longer would look like a dead leader.
pub(crate) const COMMAND_BYTES_CEILING: usize = 16 << 20;
