//! When an event happened: client times in all spellings, corrected for the client's clock.
//!
//! Times are microseconds since 1970, UTC; finer digits are cut.

use chrono::{DateTime, SecondsFormat};

use crate::protocol::json::Json;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// Later than this after receipt, a time cannot be right.
const FUTURE_MAX_US: i64 = 23 * 3_600 * SECOND_US;
/// 2021-01-01: earlier numbers in a query are no times of sending.
const QUERY_SENT_AT_MIN_US: i64 = 1_609_459_200 * SECOND_US;
/// 0000-01-01.
const YEAR_0_US: i64 = -62_167_219_200 * SECOND_US;
/// Numbers from here on are milliseconds, below seconds: 1973 as the one, 5138 as the other.
const MILLISECONDS_MIN: f64 = 1e11;

/// What a client says about the time of an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientTime {
    /// When it happened, by the client's clock.
    pub(crate) timestamp_us: Option<i64>,
    /// How long before sending it happened.
    pub(crate) offset_us: Option<i64>,
    /// When it was sent, by the client's clock; nothing if it must not be used.
    pub(crate) sent_at_us: Option<i64>,
}

/// When an event happened, and whether the time of sending was used to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventTime {
    pub(crate) timestamp_us: i64,
    pub(crate) used_sent_at: bool,
}

/// The rules of PostHog's capture service, in its order: a distance before sending wins; a time of
/// sending corrects the clock; nothing readable means now. The far past is allowed.
pub(crate) fn event_time(client: ClientTime, now_us: i64) -> EventTime {
    let (timestamp_us, used_sent_at) = match client {
        ClientTime { offset_us: Some(offset), .. } => (now_us.saturating_sub(offset), false),
        ClientTime { timestamp_us: Some(timestamp), sent_at_us: Some(sent_at), .. } => {
            (now_us.saturating_sub(sent_at.saturating_sub(timestamp)), true)
        }
        ClientTime { timestamp_us: Some(timestamp), .. } => (timestamp, false),
        _ => (now_us, false),
    };
    let timestamp_us = match timestamp_us {
        late if late > now_us.saturating_add(FUTURE_MAX_US) => now_us,
        early if early < YEAR_0_US => 0,
        plausible => plausible,
    };
    EventTime { timestamp_us, used_sent_at }
}

/// Number of the UTC day.
pub(crate) fn day(timestamp_us: i64) -> i64 {
    timestamp_us.div_euclid(DAY_US)
}

/// A time as text or as a number of seconds or milliseconds since 1970.
pub(crate) fn parse(json: Json<'_>) -> Option<i64> {
    match json.as_number() {
        Some(number) => Some(from_epoch(number)),
        None => parse_text(&json.as_text()?),
    }
}

/// A distance in milliseconds, as a number.
pub(crate) fn parse_milliseconds(json: Json<'_>) -> Option<i64> {
    Some((json.scalar()?.parse::<f64>().ok().filter(|number| number.is_finite())? * 1e3) as i64)
}

/// A time of sending in a query, form or header: milliseconds since 1970, or a time as text.
pub(crate) fn parse_sent_at(text: &str) -> Option<i64> {
    let sent_at = match text.trim().parse::<i64>() {
        Ok(milliseconds) => milliseconds.checked_mul(1_000),
        Err(_) => parse_text(text),
    };
    sent_at.filter(|sent_at| *sent_at >= QUERY_SENT_AT_MIN_US)
}

/// ISO 8601 with or without zone (UTC), with a blank for `T`, any number of digits of a second; RFC 2822;
/// or 10 or 13 digits of an epoch.
pub(crate) fn parse_text(text: &str) -> Option<i64> {
    let text = text.trim();
    parse_iso(text).or_else(|| parse_digits(text)).or_else(|| {
        let rfc_2822 = DateTime::parse_from_rfc2822(text).ok()?;
        Some(rfc_2822.timestamp_micros())
    })
}

/// RFC 3339 in UTC, with three or six digits of a second.
pub(crate) fn format(timestamp_us: i64) -> String {
    let digits = if timestamp_us % 1_000 == 0 { SecondsFormat::Millis } else { SecondsFormat::Micros };
    let time = DateTime::from_timestamp_micros(timestamp_us).unwrap_or_default();
    time.to_rfc3339_opts(digits, true)
}

fn from_epoch(number: f64) -> i64 {
    let per_unit = if number.abs() < MILLISECONDS_MIN { 1e6 } else { 1e3 };
    // Doubles hold microseconds of our time exactly to a quarter.
    (number * per_unit).round() as i64
}

fn parse_digits(text: &str) -> Option<i64> {
    let whole = text.split('.').next()?;
    let is_epoch = matches!(whole.len(), 10 | 13) && whole.bytes().all(|digit| digit.is_ascii_digit());
    if is_epoch { text.parse().ok().map(from_epoch) } else { None }
}

fn parse_iso(text: &str) -> Option<i64> {
    let mut input = Input(text.as_bytes());
    let sign = input.one_of(b"+-");
    let year_digits = if sign.is_some() { 6 } else { 4 };
    let mut year = input.number(year_digits)?;
    if sign == Some(b'-') {
        year = -year;
    }
    input.one_of(b"-")?;
    let month = input.number(2).filter(|month| (1..=12).contains(month))?;
    input.one_of(b"-")?;
    let day = input.number(2).filter(|day| (1..=days_in_month(year, month)).contains(day))?;
    let mut microseconds = days_from_1970(year, month, day) * DAY_US;
    if input.0.is_empty() {
        return Some(microseconds);
    }
    input.one_of(b"Tt ")?;
    let hour = input.number(2).filter(|hour| *hour < 24)?;
    input.one_of(b":")?;
    let minute = input.number(2).filter(|minute| *minute < 60)?;
    microseconds += (hour * 60 + minute) * 60 * SECOND_US;
    if input.one_of(b":").is_some() {
        // A leap second is the first of the next minute.
        microseconds += input.number(2).filter(|second| *second <= 60)? * SECOND_US;
        if input.one_of(b".,").is_some() {
            microseconds += input.fraction()?;
        }
    }
    Some(microseconds - input.zone()? * 60 * SECOND_US)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn digit(&mut self) -> Option<i64> {
        self.one_of(b"0123456789").map(|digit| i64::from(digit - b'0'))
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// Digits of a second as microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let (mut microseconds, mut unit) = (self.digit()? * SECOND_US / 10, SECOND_US / 100);
        while let Some(digit) = self.digit() {
            microseconds += digit * unit;
            unit /= 10;
        }
        Some(microseconds)
    }

    /// Minutes east of Greenwich; everything must be read after it.
    fn zone(&mut self) -> Option<i64> {
        while self.one_of(b" ").is_some() {}
        let minutes = match self.one_of(b"Zz+-") {
            None if self.0 == b"UTC" || self.0 == b"GMT" => return Some(0),
            None | Some(b'Z' | b'z') => 0,
            Some(sign) => {
                let hours = self.number(2)?;
                self.one_of(b":");
                let minutes = if self.0.is_empty() { 0 } else { self.number(2)? };
                (hours * 60 + minutes) * if sign == b'-' { -1 } else { 1 }
            }
        };
        self.0.is_empty().then_some(minutes)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`: years start in March.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests;
