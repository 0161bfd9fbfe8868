//! A disk that becomes full: the member looks how much is free, refuses writes before there is nothing left, and takes them
//! again by itself when there is space.

use std::sync::atomic::{AtomicBool, Ordering};

use raft::disk::{Disk as _, RealDisk};
use store_client::Error;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Handle, Options, alarms};
use crate::limits::{SPACE_CHECK_INTERVAL, SPACE_CHECK_INTERVAL_NEAR, SPACE_NEAR_FACTOR};
use crate::mvcc::alarms::Raised;

/// What is known of the free space of this member's disk.
#[derive(Debug, Default)]
pub struct Space {
    full: AtomicBool,
    doubted: Notify,
}

impl Space {
    /// Has somebody look again: a write was refused for want of space, here or by the leader.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }
}

impl Handle {
    /// Whether writes are refused because this disk is nearly full, or because a client wants it so.
    pub fn no_space(&self) -> bool {
        let by_hand = |raised: &Raised| raised.by_hand && raised.kind == alarms::NO_SPACE;
        self.is_full() || self.machine().alarms().iter().any(by_hand)
    }

    /// Whether this disk is nearly full.
    pub(super) fn is_full(&self) -> bool {
        self.space().full.load(Ordering::Relaxed)
    }

    /// Refuses what writes while space is short.
    pub(super) fn check_space(&self, writes: bool) -> Result<(), Error> {
        if writes && self.no_space() {
            let free = self.options().free_bytes_min;
            let detail = match self.is_full() {
                true => format!("fewer than {free} bytes are free for {}", self.member_id()),
                false => "an alarm was raised by hand".to_owned(),
            };
            return Err(Error::NoSpace(detail));
        }
        Ok(())
    }

    async fn act_on_space(&self, free_bytes: u64, full: bool) {
        let was_full = self.space().full.swap(full, Ordering::Relaxed);
        match (was_full, full) {
            (false, true) => {
                let needed = self.options().free_bytes_min;
                tracing::error!(free_bytes, needed, "the disk is nearly full: writes are refused");
            }
            (true, false) => tracing::info!(free_bytes, "there is space again: writes are accepted"),
            (false, false) | (true, true) => {}
        }
        if was_full || full {
            self.raft().set_short_of_space(full);
        }
        self.note_space(full).await;
        if full {
            self.let_one_with_space_lead().await;
        }
    }
}

/// Looks at the free space for as long as the member lives, the more often the less there is.
pub async fn mind(handle: Handle, options: Options) -> Result<(), super::Error> {
    let near = options.free_bytes_min.saturating_mul(SPACE_NEAR_FACTOR);
    loop {
        let directory = options.data_dir.clone();
        let looked = handle.machine().work().run(move || RealDisk.free_bytes(&directory)).await;
        let mut often = false;
        if let Ok(Ok(free_bytes)) = looked {
            let full = free_bytes < options.free_bytes_min;
            handle.act_on_space(free_bytes, full).await;
            often = !full && free_bytes < near;
        }
        sleep(SPACE_CHECK_INTERVAL_NEAR).await;
        if !often {
            tokio::select! {
                () = sleep(SPACE_CHECK_INTERVAL) => {}
                () = handle.space().doubted.notified() => {}
            }
        }
    }
}
