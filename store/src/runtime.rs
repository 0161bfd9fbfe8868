//! The runtime of a process that is a member and little else.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

use crate::limits::TURNS_BETWEEN_LOOKS;

/// A runtime with a thread for each core, or of one thread where there is a single core: among tasks that share a thread, waking one costs
/// less than where another thread might take it. A member works on any; on a busy one of this kind more proposals share an append and a sync,
/// because proposals are passed on when tokio looks at its sockets, and that is less often.
pub fn runtime() -> io::Result<Runtime> {
    let mut builder = match available_parallelism().map(NonZero::get) {
        Ok(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().event_interval(TURNS_BETWEEN_LOOKS).build()
}
