//! Whether a history is linearizable: the search of Wing and Gong (1993) with the memory of Lowe (2017).
//!
//! Calls and returns stand in a list in the order of time. The search takes out a call that no return precedes, if the
//! model allows it next, and goes on from the start; when it meets a return whose call is still there, it takes the
//! last decision back. What was tried before, the same calls taken out with the same state reached, is not tried
//! again.

use std::collections::HashSet;
use std::hash::Hash;

/// What the history is checked against.
pub trait Model {
    /// All there is to know between two calls.
    type State: Clone + Eq + Hash;
    /// A call with its answer, if there was one.
    type Call;

    /// Where everything starts.
    fn initial(&self) -> Self::State;

    /// The state after a call; `None` if the answer cannot be true in this state.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call in time. The unit of time is the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<C> {
    /// When it was made.
    pub invoked: u64,
    /// When its answer was there; `None` when there was none.
    pub returned: Option<u64>,
    /// What was asked and answered.
    pub call: C,
}

/// What the search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none. At most so many calls can be explained together.
    Impossible {
        /// How many calls the best attempt explained.
        explained: usize,
    },
    /// The budget was not enough; counts as a failure.
    Exhausted,
}

const NONE: usize = usize::MAX;

/// Calls and returns in the order of time, as a list from which calls can be taken out and put back.
struct Events {
    /// Which call; and whether it is the return.
    events: Vec<(usize, bool)>,
    /// Event `i` stands at `i + 1`; 0 is the head.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the return of a call stands, or [`NONE`].
    returns: Vec<usize>,
}

impl Events {
    fn new<C>(history: &[Timed<C>]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(history.len() * 2);
        for (at, timed) in history.iter().enumerate() {
            order.push((timed.invoked, false, at));
            order.extend(timed.returned.map(|returned| (returned, true, at)));
        }
        // At the same time calls come first: then they overlap, which is the weaker claim.
        order.sort_unstable();
        let count = order.len();
        let mut returns = vec![NONE; history.len()];
        for (position, (_, is_return, at)) in order.iter().enumerate() {
            if *is_return {
                returns[*at] = position + 1;
            }
        }
        Self {
            events: order.into_iter().map(|(_, is_return, at)| (at, is_return)).collect(),
            next: (1..=count + 1).collect(),
            previous: (0..=count).map(|at| at.wrapping_sub(1)).collect(),
            returns,
        }
    }

    fn event(&self, place: usize) -> Option<(usize, bool)> {
        self.events.get(place.checked_sub(1)?).copied()
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = after;
        if let Some(previous) = self.previous.get_mut(after) {
            *previous = before;
        }
    }

    fn link(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = place;
        if let Some(previous) = self.previous.get_mut(after) {
            *previous = place;
        }
    }

    fn take_out(&mut self, place: usize, call: usize) {
        self.unlink(place);
        if self.returns[call] != NONE {
            self.unlink(self.returns[call]);
        }
    }

    fn put_back(&mut self, place: usize, call: usize) {
        if self.returns[call] != NONE {
            self.link(self.returns[call]);
        }
        self.link(place);
    }
}

/// Searches for an order that explains the history, in at most so many steps.
pub fn check<M: Model>(model: &M, history: &[Timed<M::Call>], steps_max: u64) -> Verdict {
    let mut events = Events::new(history);
    let mut state = model.initial();
    let mut taken = vec![0_u64; history.len().div_ceil(64)];
    let mut seen = HashSet::new();
    let mut decisions: Vec<(usize, usize, M::State)> = Vec::new();
    let mut explained = 0;
    let mut place = events.next[0];
    for _ in 0..steps_max {
        match events.event(place) {
            // No return is left: what remains are calls without answer.
            None => return Verdict::Linearizable,
            Some((call, false)) => {
                let next = model.step(&state, &history[call].call);
                taken[call / 64] |= 1 << (call % 64);
                match next {
                    Some(next) if seen.insert((taken.clone(), next.clone())) => {
                        decisions.push((place, call, std::mem::replace(&mut state, next)));
                        explained = explained.max(decisions.len());
                        events.take_out(place, call);
                        place = events.next[0];
                    }
                    Some(_) | None => {
                        taken[call / 64] &= !(1 << (call % 64));
                        place = events.next[place];
                    }
                }
            }
            Some((_, true)) => {
                let Some((at, call, before)) = decisions.pop() else {
                    return Verdict::Impossible { explained };
                };
                state = before;
                taken[call / 64] &= !(1 << (call % 64));
                events.put_back(at, call);
                place = events.next[at];
            }
        }
    }
    Verdict::Exhausted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: writes, and reads that say what they saw.
    struct Register;

    enum Call {
        Write(u8),
        Read(u8),
    }

    impl Model for Register {
        type State = u8;
        type Call = Call;

        fn initial(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, call: &Call) -> Option<u8> {
            match call {
                Call::Write(value) => Some(*value),
                Call::Read(value) => (value == state).then_some(*state),
            }
        }
    }

    fn check(history: &[(u64, Option<u64>, Call)], expected: Verdict) {
        let history: Vec<_> = history
            .iter()
            .map(|(invoked, returned, call)| Timed {
                invoked: *invoked,
                returned: *returned,
                call: match call {
                    Call::Write(value) => Call::Write(*value),
                    Call::Read(value) => Call::Read(*value),
                },
            })
            .collect();
        assert_eq!(super::check(&Register, &history, 10_000), expected);
    }

    #[test]
    fn overlapping_calls_may_happen_in_any_order() {
        use Call::{Read, Write};
        check(&[(0, Some(9), Write(1)), (1, Some(2), Read(0)), (3, Some(4), Read(1))], Verdict::Linearizable);
        check(
            &[(0, Some(9), Write(1)), (1, Some(2), Read(1)), (3, Some(4), Read(0))],
            Verdict::Impossible { explained: 2 },
        );
    }

    #[test]
    fn a_call_without_answer_happens_late_or_never() {
        use Call::{Read, Write};
        check(&[(0, None, Write(1)), (1, Some(2), Read(0)), (3, Some(4), Read(1))], Verdict::Linearizable);
        check(&[(0, None, Write(1)), (1, Some(2), Read(0))], Verdict::Linearizable);
        check(&[(5, None, Write(1)), (1, Some(2), Read(1))], Verdict::Impossible { explained: 0 });
    }

    #[test]
    fn a_search_that_takes_too_long_is_no_acceptance() {
        let history: Vec<_> =
            (0..10).map(|value| Timed { invoked: 0, returned: Some(9), call: Call::Write(value) }).collect();
        assert_eq!(super::check(&Register, &history, 5), Verdict::Exhausted);
    }
}
