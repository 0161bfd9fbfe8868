//! Cron schedules: five fields, names, ranges, steps, lists and the `@` shorthands. Pure.
//!
//! Day of month and day of week are alternatives if both are restricted, as in Vixie cron. A time that a change
//! of clocks skips is taken after the gap.

use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};

/// Years to look ahead: the 29th of February on a given weekday comes at least this often.
const YEARS_MAX: i16 = 30;
/// How far back to look for the last time, in minutes, shortest first, so that no search takes many steps.
const LOOK_BACK: [i64; 5] = [60, 24 * 60, 32 * 24 * 60, 366 * 24 * 60, 5 * 366 * 24 * 60];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const SHORTHANDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One parsed schedule.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: either may match.
    either_day: bool,
    zone: TimeZone,
}

impl Schedule {
    /// Parses a schedule in a time zone.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let text =
            SHORTHANDS.iter().find(|(name, _)| *name == text.trim()).map_or(text, |(_, fields)| fields);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", fields.len()));
        };
        let weekday_set = field(weekdays, 0, 7, &DAYS)?;
        Ok(Self {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            // 7 is Sunday too.
            weekdays: if weekday_set & 1 << 7 != 0 { weekday_set | 1 } else { weekday_set },
            either_day: !is_any(days) && !is_any(weekdays),
            zone,
        })
    }

    /// The first time after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = self.zone.to_datetime(after);
        let mut at = start.date().at(start.hour(), start.minute(), 0, 0);
        let year_max = start.year().saturating_add(YEARS_MAX);
        loop {
            at = self.first_from(at.checked_add(1.minute()).ok()?, year_max)?;
            let found = self.zone.to_ambiguous_timestamp(at).compatible().ok()?;
            // Clocks that are set back show a time twice.
            if found > after {
                return Some(found);
            }
        }
    }

    /// The last time in `(from, to]`.
    pub(super) fn last(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        for minutes in LOOK_BACK {
            let start = to.as_second().saturating_sub(minutes * 60).max(from.as_second());
            let mut found = None;
            let mut at = self.next(Timestamp::from_second(start).ok()?);
            while let Some(time) = at.filter(|t| *t <= to) {
                found = Some(time);
                at = self.next(time);
            }
            if found.is_some() || start == from.as_second() {
                return found;
            }
        }
        None
    }

    /// The first matching minute at or after `at`.
    fn first_from(&self, mut at: DateTime, year_max: i16) -> Option<DateTime> {
        let has = |set: u64, value: i8| set & 1 << value != 0;
        while at.year() <= year_max {
            at = if !has(self.months, at.month()) {
                at.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0)
            } else if !self.is_day(at) {
                at.date().tomorrow().ok()?.at(0, 0, 0, 0)
            } else if !has(self.hours, at.hour()) {
                at.date().at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok()?
            } else if !has(self.minutes, at.minute()) {
                at.checked_add(1.minute()).ok()?
            } else {
                return Some(at);
            };
        }
        None
    }

    fn is_day(&self, at: DateTime) -> bool {
        let day = self.days & 1 << at.day() != 0;
        let weekday = self.weekdays & 1 << at.weekday().to_sunday_zero_offset() != 0;
        if self.either_day { day || weekday } else { day && weekday }
    }
}

fn is_any(field: &str) -> bool {
    field.starts_with('*') || field.starts_with('?')
}

fn field(text: &str, min: u8, max: u8, names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u8>().ok().filter(|s| *s > 0);
                (range, Some(step.ok_or_else(|| format!("bad step in {part:?}"))?))
            }
            None => (part, None),
        };
        let (first, last) = if range == "*" || range == "?" {
            (min, max)
        } else if let Some((first, last)) = range.split_once('-') {
            (value(first, min, max, names)?, value(last, min, max, names)?)
        } else {
            let first = value(range, min, max, names)?;
            (first, if step.is_some() { max } else { first })
        };
        if first > last {
            return Err(format!("{part:?} ends before it begins"));
        }
        for value in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

fn value(text: &str, min: u8, max: u8, names: &[&str]) -> Result<u8, String> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let number = match named {
        // Names of months count from 1, those of days from 0, like their fields.
        Some(index) => u8::try_from(index).ok().map(|i| i + min),
        None => text.parse().ok(),
    };
    number.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("{text:?} is not within {min}-{max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_is_found() {
        let cases = [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 8-10 * * *", "2026-01-01T08:45:00Z", "2026-01-01T09:05:00Z"),
            ("0 0 1 * *", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("30 6 * * mon-fri", "2026-01-02T07:00:00Z", "2026-01-05T06:30:00Z"),
            ("0 12 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z"),
            ("0 0 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 29 feb *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@hourly", "2026-12-31T23:10:00Z", "2027-01-01T00:00:00Z"),
        ];
        for (text, after, expect) in cases {
            let schedule = Schedule::parse(text, TimeZone::UTC).unwrap();
            assert_eq!(schedule.next(at(after)), Some(at(expect)), "{text}");
        }
        let never = Schedule::parse("0 0 31 2 *", TimeZone::UTC).unwrap();
        assert_eq!(never.next(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn the_last_time_is_found_within_bounds() {
        let hourly = Schedule::parse("0 * * * *", TimeZone::UTC).unwrap();
        let last = |from: &str, to: &str| hourly.last(at(from), at(to));
        assert_eq!(last("2020-01-01T00:00:00Z", "2026-01-01T05:30:00Z"), Some(at("2026-01-01T05:00:00Z")));
        assert_eq!(last("2026-01-01T05:00:00Z", "2026-01-01T05:30:00Z"), None);
        assert_eq!(last("2026-01-01T04:59:00Z", "2026-01-01T05:00:00Z"), Some(at("2026-01-01T05:00:00Z")));
        let yearly = Schedule::parse("@yearly", TimeZone::UTC).unwrap();
        assert_eq!(
            yearly.last(at("2020-05-01T00:00:00Z"), at("2026-05-01T00:00:00Z")),
            Some(at("2026-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn zones_and_changes_of_clocks_are_honoured() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let schedule = Schedule::parse("0 3 * * *", zone).unwrap();
        assert_eq!(schedule.next(at("2026-01-01T00:30:00Z")), Some(at("2026-01-01T01:00:00Z")));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "* * * foo *", "@never"]
        {
            assert!(Schedule::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
    }
}
