//! One task that waits for many watchers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Which of them have news.
#[derive(Debug, Default)]
pub struct Bells {
    rung: Mutex<Vec<i64>>,
    waiting: AtomicWaker,
}

impl Bells {
    pub(super) fn ring(&self, name: i64) {
        self.rung.lock().push(name);
        self.waiting.wake();
    }

    /// Appends the names of those that have had news since the last time, or has the task woken when one has.
    pub fn poll_rung(&self, context: &mut Context<'_>, names: &mut VecDeque<i64>) -> Poll<()> {
        self.poll(context, |rung| names.extend(rung.drain(..)))
    }

    /// Waits until one has had news, whichever it is.
    pub(super) async fn rung(&self) {
        poll_fn(|context| self.poll(context, Vec::clear)).await;
    }

    fn poll(&self, context: &mut Context<'_>, take: impl FnOnce(&mut Vec<i64>)) -> Poll<()> {
        // In this order: who rings after the look wakes the task.
        self.waiting.register(context.waker());
        let mut rung = self.rung.lock();
        if rung.is_empty() {
            return Poll::Pending;
        }
        take(&mut rung);
        Poll::Ready(())
    }
}
