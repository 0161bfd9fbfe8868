//! A state that cannot be read any more: the first reader that notices stops the member (invariant S7).

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::mvcc;

/// Remembers the first failure until the member's service takes it.
#[derive(Debug, Default)]
pub struct Broken {
    first: Mutex<Option<mvcc::Error>>,
    told: Notify,
}

impl Broken {
    /// Reports a failure to read the state.
    pub fn report(&self, error: mvcc::Error) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the state cannot be read: this member stops"
        );
        self.first.lock().get_or_insert(error);
        self.told.notify_one();
    }

    /// Waits for a failure.
    pub async fn reported(&self) -> mvcc::Error {
        loop {
            if let Some(error) = self.first.lock().take() {
                return error;
            }
            self.told.notified().await;
        }
    }
}
