//! Moments as people write them.

use jiff::{SignedDuration, Timestamp};

/// A moment in the store's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The state at a revision; 0 for the newest.
    Revision(i64),
    /// The state at a time, in milliseconds since 1970 UTC.
    UnixMs(u64),
}

/// A time as RFC 3339 in UTC.
pub fn show(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    time.map_or_else(|| format!("{unix_ms} ms after 1970"), |time| time.to_string())
}

/// Reads a moment: a revision (`1234`), a time (`2026-11-21T03:00:00Z`, or with an offset), or how long ago (`-90s`,
/// `-10m`, `-2h`).
pub fn parse(text: &str, now_unix_ms: u64) -> Result<Moment, String> {
    if let Ok(revision) = text.parse::<i64>()
        && revision >= 0
    {
        return Ok(Moment::Revision(revision));
    }
    let wrong = || {
        format!(
            "{text:?} is neither a revision, nor a time as in 2026-11-21T03:00:00Z, nor an age as in -10m"
        )
    };
    if let Some(age) = text.strip_prefix('-') {
        let age: SignedDuration = age.parse().map_err(|_| wrong())?;
        let age_ms = u64::try_from(age.as_millis()).map_err(|_| wrong())?;
        return Ok(Moment::UnixMs(now_unix_ms.saturating_sub(age_ms)));
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(time.as_millisecond()).map(Moment::UnixMs).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = 1_000_000_000;
        let table = [
            ("0", Some(Moment::Revision(0))),
            ("77", Some(Moment::Revision(77))),
            ("1970-01-01T00:00:01.5Z", Some(Moment::UnixMs(1500))),
            ("1970-01-01T02:00:00+02:00", Some(Moment::UnixMs(0))),
            ("-90s", Some(Moment::UnixMs(now - 90_000))),
            ("-1h30m", Some(Moment::UnixMs(now - 5_400_000))),
            ("-7", None),
            ("yesterday", None),
            ("1960-01-01T00:00:00Z", None),
        ];
        for (text, expect) in table {
            assert_eq!(parse(text, now).ok(), expect, "{text}");
        }
        assert_eq!(show(1500), "1970-01-01T00:00:01.5Z");
    }
}
