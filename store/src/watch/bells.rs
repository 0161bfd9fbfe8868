//! One task that waits for many watchers.

use std::collections::VecDeque;
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
        // In this order: who rings after the look wakes the task.
        self.waiting.register(context.waker());
        let mut rung = self.rung.lock();
        if rung.is_empty() {
            return Poll::Pending;
        }
        names.extend(rung.drain(..));
        Poll::Ready(())
    }
}
