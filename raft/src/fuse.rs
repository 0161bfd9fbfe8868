//! Invariant S7 in one place: the first failure of log or state blows the fuse, and nothing mends it.

use tokio::sync::watch;

use crate::error::Error;

/// Shared by everything that writes to disk.
#[derive(Clone, Debug)]
pub(crate) struct Fuse {
    blown: watch::Sender<Option<Error>>,
}

impl Fuse {
    pub(crate) fn new() -> Self {
        Self { blown: watch::Sender::new(None) }
    }

    /// Records the failure. The first one counts.
    pub(crate) fn blow(&self, error: &Error) {
        let first = self.blown.send_if_modified(|blown| {
            let first = blown.is_none();
            if first {
                *blown = Some(error.clone());
            }
            first
        });
        if first {
            tracing::error!(%error, "storage failed; this member stops");
        }
    }

    /// Fails once blown.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &*self.blown.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Returns the failure once there is one. Cancel-safe.
    pub(crate) async fn blown(&self) -> Error {
        let mut blown = self.blown.subscribe();
        let error = match blown.wait_for(Option::is_some).await {
            Ok(error) => error.clone(),
            Err(_) => None,
        };
        error.expect("we hold a sender and waited for a failure")
    }
}
