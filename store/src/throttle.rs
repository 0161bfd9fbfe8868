//! Says the same thing at most so often.

use std::time::Instant;

use parking_lot::Mutex;

use crate::limits::REPORT_INTERVAL;

/// Lets one report through for each interval, and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Whether to report now; if so, how many reports were left out since the last.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.said.is_some_and(|said| now.saturating_duration_since(said) < REPORT_INTERVAL) {
            state.left_out += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_is_said() {
        let (throttle, begin) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.pass_at(begin), Some(0));
        assert_eq!(throttle.pass_at(begin), None);
        assert_eq!(throttle.pass_at(begin + REPORT_INTERVAL / 2), None);
        assert_eq!(throttle.pass_at(begin + REPORT_INTERVAL), Some(2));
    }
}
