//! What a link does to the bytes on it. Pure: time and chance are told.

use std::time::{Duration, Instant};

use rand::Rng;

/// How a link behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// How long bytes are under way.
    pub delay: Duration,
    /// How much longer or shorter, at most.
    pub jitter: Duration,
    /// How probable it is that a piece is lost. TCP sends it again, and all after it waits.
    pub loss: f64,
    /// How probable it is that a piece ends its connection.
    pub reset: f64,
    /// Bytes in a second; 0 for as many as come.
    pub rate: u64,
}

/// TCP's shortest patience before it sends again what was lost; doubled for each loss in a row.
const RESEND: Duration = Duration::from_millis(200);
/// Losses in a row after which the rest of them would be outages; those are cuts.
const LOSSES_MAX: u32 = 4;

impl Weather {
    /// Nothing happens.
    pub const FAIR: Self =
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, reset: 0.0, rate: 0 };
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then; it was lost so many times.
    Arrives {
        /// When.
        at: Instant,
        /// How many times it was lost.
        lost: u32,
    },
    /// Its connection ends.
    Reset,
}

/// One direction of a connection: what was sent first arrives first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    last: Option<Instant>,
}

impl Course {
    /// Decides about a piece of so many bytes.
    pub fn fate(&mut self, weather: Weather, now: Instant, bytes: usize, chance: &mut impl Rng) -> Fate {
        if weather.reset > 0.0 && chance.random_bool(weather.reset) {
            return Fate::Reset;
        }
        let mut lost = 0;
        while lost < LOSSES_MAX && weather.loss > 0.0 && chance.random_bool(weather.loss) {
            lost += 1;
        }
        let stalled = RESEND * ((1 << lost) - 1);
        let spread = chance.random_range(0.0..=2.0);
        let under_way = (weather.delay + weather.jitter.mul_f64(spread)).saturating_sub(weather.jitter);
        let on_the_wire = match weather.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        };
        let before = self.last.map_or(now, |last| last + on_the_wire);
        let at = before.max(now + under_way + stalled + on_the_wire);
        self.last = Some(at);
        Fate::Arrives { at, lost }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds after the start at which pieces of 1000 bytes arrive that are sent every millisecond.
    fn arrivals(weather: Weather, pieces: u32) -> Vec<u128> {
        let (mut course, mut chance) = (Course::default(), StdRng::seed_from_u64(1));
        let start = Instant::now();
        let arrival = |number| match course.fate(weather, start + MS * number, 1000, &mut chance) {
            Fate::Arrives { at, .. } => Some((at - start).as_millis()),
            Fate::Reset => None,
        };
        (0..pieces).map_while(arrival).collect()
    }

    #[test]
    fn fair_weather_changes_nothing() {
        assert_eq!(arrivals(Weather::FAIR, 4), [0, 1, 2, 3]);
    }

    #[test]
    fn pieces_arrive_in_order_within_delay_and_jitter() {
        let weather = Weather { delay: 75 * MS, jitter: 50 * MS, ..Weather::FAIR };
        let arrivals = arrivals(weather, 100);
        assert!(arrivals.is_sorted());
        assert!(
            arrivals.iter().zip(0..).all(|(at, sent)| (sent + 25..=99 + 125).contains(at)),
            "{arrivals:?}"
        );
        assert!(arrivals.iter().collect::<std::collections::BTreeSet<_>>().len() > 5, "it varies");
    }

    #[test]
    fn what_is_lost_holds_up_what_follows() {
        let arrivals = arrivals(Weather { loss: 0.1, ..Weather::FAIR }, 200);
        assert!(arrivals.is_sorted());
        let stalls = arrivals.windows(2).filter(|pair| pair[1] > pair[0] + 50).count();
        assert!(stalls > 0 && arrivals[199] >= 200, "{arrivals:?}");
    }

    #[test]
    fn a_narrow_link_takes_its_time() {
        // 1000 bytes at 8000 bytes a second take 125 ms.
        assert_eq!(arrivals(Weather { rate: 8000, ..Weather::FAIR }, 3), [125, 250, 375]);
    }

    #[test]
    fn a_reset_ends_the_connection() {
        assert_eq!(arrivals(Weather { reset: 1.0, ..Weather::FAIR }, 3), []);
    }
}
