//! The present state, for readers.
//!
//! Users and keys change in one batch, but a reader looks at one after the other. So it takes a ticket with the state it
//! is checked against, reads, and then asks whether the ticket is still good: it is not when a batch that changes users was
//! under way at any time in between. Then nothing of what was read is shown, and the reader starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::State;

/// The state as this member has applied it.
#[derive(Debug)]
pub struct Published {
    /// The same as in the state; what those look at who have nothing to check while auth is off.
    enabled: AtomicBool,
    /// Odd while a batch that changes users is being written.
    sequence: AtomicU64,
    state: ArcSwap<State>,
    told: watch::Sender<u64>,
}

/// A state, and the right to rely on it until something changes.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The state.
    pub state: Arc<State>,
    sequence: u64,
}

impl Published {
    /// Publishes a first state.
    pub fn new(state: State) -> Self {
        Self {
            enabled: AtomicBool::new(state.enabled),
            sequence: AtomicU64::new(0),
            state: ArcSwap::from_pointee(state),
            told: watch::Sender::new(0),
        }
    }

    /// Whether callers must be known, as far as this member knows. Costs nothing.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// The state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// A ticket; `None` while a change is under way.
    pub fn ticket(&self) -> Option<Ticket> {
        let sequence = self.sequence.load(Ordering::SeqCst);
        let ticket = Ticket { state: self.state.load_full(), sequence };
        (sequence.is_multiple_of(2) && self.is_good(&ticket)).then_some(ticket)
    }

    /// Whether nothing has changed, nor begun to change, since the ticket was taken.
    pub fn is_good(&self, ticket: &Ticket) -> bool {
        self.sequence.load(Ordering::SeqCst) == ticket.sequence
    }

    /// A change of state begins to be written. Must be followed by [`Published::put`], unless the member stops.
    pub fn begin(&self) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
    }

    /// Publishes the next state, which is written.
    pub fn put(&self, state: Arc<State>) {
        self.enabled.store(state.enabled, Ordering::Relaxed);
        self.state.store(state);
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        debug_assert!(sequence.is_multiple_of(2), "a change begins before it ends");
        self.told.send_replace(sequence);
    }

    /// Which change was the last; grows with each.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Tells after each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_a_change_begins() {
        let published = Published::new(State::default());
        let ticket = published.ticket().unwrap();
        assert!(published.is_good(&ticket));
        published.begin();
        assert!(!published.is_good(&ticket));
        assert!(published.ticket().is_none(), "keys may be newer than users now");
        let told = published.changes();
        published.put(Arc::new(State { enabled: true, revision: 2, ..State::default() }));
        assert!(told.has_changed().unwrap());
        assert!(published.enabled() && !published.is_good(&ticket));
        assert_eq!(published.ticket().unwrap().state.revision, 2);
    }
}
