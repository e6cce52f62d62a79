//! Dates of conditions and properties: absolute ones in many spellings, and such as `-30d`.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use serde_json::Value;

/// Relative dates of this many units or more are none, as in PostHog.
const RELATIVE_UNITS_MAX: u32 = 10_000;
/// Seconds since 1970 beyond which a number is no date: the years ±200 000.
const EPOCH_SECONDS_MAX: f64 = 6.3e12;

/// A date of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Microseconds since 1970.
    At(i64),
    Ago {
        count: u32,
        unit: Unit,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl When {
    pub(super) fn parse(value: &Value) -> Option<When> {
        if let Value::String(text) = value
            && let Some((count, unit)) = relative(text)
        {
            return Some(When::Ago { count, unit });
        }
        instant(value).map(When::At)
    }

    /// In microseconds since 1970; nothing before the calendar begins.
    pub(super) fn resolve(self, now_us: i64) -> Option<i64> {
        let (count, unit) = match self {
            When::At(instant_us) => return Some(instant_us),
            When::Ago { count, unit } => (count, unit),
        };
        let now = DateTime::from_timestamp_micros(now_us)?.naive_utc();
        let then = match unit {
            Unit::Hour => now.checked_sub_signed(TimeDelta::hours(i64::from(count)))?,
            Unit::Day => now.checked_sub_days(Days::new(u64::from(count)))?,
            Unit::Week => now.checked_sub_days(Days::new(u64::from(count) * 7))?,
            Unit::Month => months_before(now, count)?,
            Unit::Year => {
                let year = now.year() - i32::try_from(count).ok()?;
                now.with_year(year).or_else(|| now.with_day(28)?.with_year(year))?
            }
        };
        Some(then.and_utc().timestamp_micros())
    }
}

/// `-30d`, `30d`: a count and one of `h d w m y`.
fn relative(text: &str) -> Option<(u32, Unit)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let unit = match text.bytes().last()? {
        b'h' => Unit::Hour,
        b'd' => Unit::Day,
        b'w' => Unit::Week,
        b'm' => Unit::Month,
        b'y' => Unit::Year,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let count = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())??;
    (count < RELATIVE_UNITS_MAX).then_some((count, unit))
}

/// Month by month, the day cut to the length of each month on the way: two months before 31 March is
/// 28 January.
fn months_before(now: NaiveDateTime, count: u32) -> Option<NaiveDateTime> {
    let months = i64::from(now.year()) * 12 + i64::from(now.month0());
    let first_of = |months: i64| {
        let year = i32::try_from(months.div_euclid(12)).ok()?;
        NaiveDate::from_ymd_opt(year, u32::try_from(months.rem_euclid(12)).ok()? + 1, 1)
    };
    let target = months - i64::from(count);
    let mut day = now.day();
    for month in (target..months).rev() {
        // Every month has 28 days.
        if day <= 28 {
            break;
        }
        day = day.min(u32::from(first_of(month)?.num_days_in_month()));
    }
    Some(first_of(target)?.with_day(day)?.and_time(now.time()))
}

/// A date of a property, in microseconds since 1970: numbers are milliseconds, as in posthog-node, text
/// of digits is seconds, as in PostHog's server; times without a zone are UTC.
pub(super) fn instant(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => from_seconds(number.as_f64()? / 1e3),
        Value::String(text) => from_text(text.trim()),
        _ => None,
    }
}

fn from_seconds(seconds: f64) -> Option<i64> {
    (seconds.abs() <= EPOCH_SECONDS_MAX).then_some((seconds * 1e6).round() as i64)
}

fn from_text(text: &str) -> Option<i64> {
    if text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return midnight(NaiveDate::from_ymd_opt(text.parse().ok()?, 1, 1)?);
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim_start()),
        None => (text, ""),
    };
    if let Some(date) = numeric_date(date) {
        return if time.is_empty() { midnight(date) } else { with_time(date, time) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return from_seconds(seconds);
    }
    from_words(text)
}

fn numeric_date(text: &str) -> Option<NaiveDate> {
    let compact = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if compact {
        let (year, month, day) = (text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?);
        return NaiveDate::from_ymd_opt(year, month, day);
    }
    let mut parts = text.split(['-', '/']);
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let day = parts.next().map_or(Some(1), |day| day.parse().ok())?;
    if parts.next().is_some() {
        return None;
    }
    NaiveDate::from_ymd_opt(year, month, day)
}

/// `HH[:MM[:SS[.fraction]]]` and a zone: `Z`, `UTC`, `GMT`, `+HH`, `+HHMM`, `+HH:MM`, or none.
fn with_time(date: NaiveDate, text: &str) -> Option<i64> {
    let clock_end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.' | ','))).unwrap_or(text.len());
    let (clock, zone) = text.split_at(clock_end);
    let local = date.and_time(clock_time(clock)?);
    let utc = local.checked_sub_signed(TimeDelta::seconds(offset_seconds(zone.trim())?))?;
    Some(utc.and_utc().timestamp_micros())
}

fn clock_time(text: &str) -> Option<NaiveTime> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let digits: String = whole.chars().filter(|c| *c != ':').collect();
    let two = |range: std::ops::Range<usize>| match digits.get(range) {
        Some(pair) => pair.parse::<u32>().ok(),
        None => Some(0),
    };
    if !matches!(digits.len(), 2 | 4 | 6) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    NaiveTime::from_hms_micro_opt(two(0..2)?, two(2..4)?, two(4..6)?, micros)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => {
            return ["z", "utc", "gmt"].iter().any(|name| zone.eq_ignore_ascii_case(name)).then_some(0);
        }
    };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = match digits.get(2..)? {
        "" => 0,
        minutes if minutes.len() == 2 => minutes.parse().ok()?,
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Dates with the name of the month, and American ones.
fn from_words(text: &str) -> Option<i64> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.timestamp_micros());
    }
    let formats = ["%B %d, %Y", "%B %d %Y", "%d %B %Y", "%m/%d/%Y"];
    formats.iter().find_map(|format| NaiveDate::parse_from_str(text, format).ok()).and_then(midnight)
}

fn midnight(date: NaiveDate) -> Option<i64> {
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn us(rfc3339: &str) -> i64 {
        DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros()
    }

    #[test]
    fn dates_are_read_in_many_spellings() {
        let day = "2024-01-02T00:00:00Z";
        for (text, expected) in [
            ("2024-01-02", day),
            (" 2024-01-02 ", day),
            ("2024-1-2", day),
            ("2024/01/02", day),
            ("20240102", day),
            ("01/02/2024", day),
            ("Jan 2, 2024", day),
            ("January 2 2024", day),
            ("2 Jan 2024", day),
            ("Tue, 02 Jan 2024 00:00:00 GMT", day),
            ("2024-01-02T00:00", day),
            ("2024-01-02 00:00:00", day),
            ("2024-01-02 01:00:00 +01:00", day),
            ("2024-01-02T01:00:00+0100", day),
            ("2024-01-02T01+01", day),
            ("2024-01-01T19:00:00-05:00", day),
            ("2024-01-02 00:00 UTC", day),
            ("2024-01-02t00:00:00z", day),
            ("20240102T000000", day),
            ("2024-01-02T00:00:00.1234567Z", "2024-01-02T00:00:00.123456Z"),
            ("2024-01-02T00:00:00,5Z", "2024-01-02T00:00:00.5Z"),
            ("2024", "2024-01-01T00:00:00Z"),
            ("2024-03", "2024-03-01T00:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.5", "2023-11-14T22:13:20.5Z"),
        ] {
            assert_eq!(instant(&json!(text)), Some(us(expected)), "{text}");
        }
        assert_eq!(instant(&json!(1_700_000_000_000_i64)), Some(us("2023-11-14T22:13:20Z")));
        for text in
            ["", "x", "2024-02-30", "2024-13-01", "2024-01-02T25:00", "2024-01-02T00:00:00 CET", "-7d", "1e30", "é"]
        {
            assert_eq!(instant(&json!(text)), None, "{text}");
        }
        for value in [json!(true), json!(null), json!(["2024-01-02"]), json!({})] {
            assert_eq!(instant(&value), None, "{value}");
        }
    }

    #[test]
    fn relative_dates_count_back_from_now() {
        for (now, text, expected) in [
            ("2026-11-20T10:00:00.5Z", "-3h", "2026-11-20T07:00:00.5Z"),
            ("2026-11-20T10:00:00Z", "7d", "2026-11-13T10:00:00Z"),
            ("2026-11-20T10:00:00Z", "-1w", "2026-11-13T10:00:00Z"),
            ("2026-11-20T10:00:00Z", "-1m", "2026-10-20T10:00:00Z"),
            ("2026-03-31T10:00:00Z", "-1m", "2026-02-28T10:00:00Z"),
            ("2026-03-31T10:00:00Z", "-2m", "2026-01-28T10:00:00Z"),
            ("2024-03-31T10:00:00Z", "-2m", "2024-01-29T10:00:00Z"),
            ("2026-01-15T10:00:00Z", "-13m", "2024-12-15T10:00:00Z"),
            ("2024-02-29T10:00:00Z", "-1y", "2023-02-28T10:00:00Z"),
            ("2024-02-29T10:00:00Z", "-4y", "2020-02-29T10:00:00Z"),
            ("2026-11-20T10:00:00Z", "0d", "2026-11-20T10:00:00Z"),
        ] {
            let when = When::parse(&json!(text)).unwrap();
            assert_eq!(when.resolve(us(now)), Some(us(expected)), "{now} {text}");
        }
        for text in ["-10000d", "-d", "3x", "3.5d", "--3d", "+3d", "d"] {
            assert_eq!(When::parse(&json!(text)), None, "{text}");
        }
    }
}
