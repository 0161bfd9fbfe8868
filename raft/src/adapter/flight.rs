//! Which answer of a member tells how lately it heard from this one.
//!
//! openraft takes an answer for an answer to every message under way that ends at the same entry. A message without entries, which
//! tells what is committed, ends where the one before it ended: an answer to the older one would count as if the member had heard the
//! newer, and a leader that was cut off would confirm reads by answers from before (S4). So of messages that end at the
//! same entry only the last one's answer is handed on, and none is sent while openraft looks at an answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;

use super::{Types, convert};
use crate::record::LogId;

/// Messages under way on one stream. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Flight {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where each message under way ends.
    ends: VecDeque<Option<LogId>>,
    /// openraft looks at an answer.
    looking: bool,
    /// Who wants to send meanwhile.
    waiting: Option<Waker>,
}

impl Flight {
    /// The messages of a stream, noted.
    pub(super) fn of<S>(&self, messages: S) -> Messages<S> {
        Messages { messages, flight: self.clone() }
    }

    /// Whether every message was answered.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().ends.is_empty()
    }

    /// openraft has seen the last answer.
    pub(super) fn seen(&self) {
        let mut state = self.state.lock();
        state.looking = false;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// An answer came; whether it is to be handed on. Then nothing is sent until it was seen.
    pub(super) fn answered(&self) -> bool {
        let mut state = self.state.lock();
        let end = state.ends.pop_front();
        let is_last = end.is_none() || state.ends.front() != end.as_ref();
        state.looking = is_last;
        is_last
    }
}

/// See [`Flight::of`].
pub(super) struct Messages<S> {
    messages: S,
    flight: Flight,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Stream for Messages<S> {
    type Item = AppendEntriesRequest<Types>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut state = this.flight.state.lock();
        if state.looking {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let message = std::task::ready!(Pin::new(&mut this.messages).poll_next(context));
        if let Some(message) = &message {
            state.ends.push_back(convert::end(message));
        }
        Poll::Ready(message)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use openraft::{EntryPayload, Vote};

    use super::*;

    /// A message that follows an entry, with so many of its own.
    fn message(previous: u64, entries: u64) -> AppendEntriesRequest<Types> {
        let id = |index| convert::log_id(LogId { term: 1, index });
        let entry =
            |index| openraft::alias::EntryOf::<Types> { log_id: id(index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(previous)),
            entries: (previous + 1..=previous + entries).map(entry).collect(),
            leader_commit: None,
        }
    }

    #[tokio::test]
    async fn an_old_answer_does_not_count_for_a_new_message() {
        let flight = Flight::default();
        let messages =
            stream::iter([message(4, 2), message(6, 0), message(6, 0), message(6, 1), message(7, 0)]);
        let mut messages = flight.of(messages);
        for _ in 0..4 {
            messages.next().await.unwrap();
        }
        assert!(!flight.answered() && !flight.answered(), "a later one ends at 6, too");
        assert!(flight.answered(), "the last that ends at 6");
        assert!(futures::poll!(messages.next()).is_pending(), "until this answer was seen");
        flight.seen();
        assert!(flight.answered() && flight.is_empty(), "nothing else ends at 7 yet");
        flight.seen();
        assert!(futures::poll!(messages.next()).is_ready());
    }

    #[tokio::test]
    async fn who_waits_to_send_is_woken() {
        let flight = Flight::default();
        let mut messages = flight.of(stream::iter([message(4, 1), message(5, 1)]));
        messages.next().await.unwrap();
        assert!(flight.answered());
        let sending = tokio::spawn(async move { messages.next().await.is_some() });
        tokio::task::yield_now().await;
        flight.seen();
        assert!(sending.await.unwrap());
    }
}
