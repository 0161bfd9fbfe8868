//! The runtime of a process that is a member and little else.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::limits::TURNS_BETWEEN_LOOKS;

/// A runtime with a thread for each core. A member works on any; on a busy one of this kind more proposals share an append and a sync, because
/// proposals are passed on when tokio looks at its sockets, and that is less often.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().event_interval(TURNS_BETWEEN_LOOKS).build()
}
