use super::*;
use crate::testing::NOW_US;

const HOUR_US: i64 = 3_600 * SECOND_US;
/// 2026-11-20T05:04:09.858123Z, from `date -u -d … +%s`.
const SENT_US: i64 = 1_795_151_049_858_123;
const SENT_S: i64 = 1_795_151_049 * SECOND_US;

#[test]
fn times_are_read_in_all_spellings() {
    for (json, expected) in [
        (r#""2026-11-20T05:04:09.858123Z""#, Some(SENT_US)),
        (r#""2026-11-20T05:04:09.858123999Z""#, Some(SENT_US)),
        (r#""2026-11-20 05:04:09.858123""#, Some(SENT_US)),
        (r#""2026-11-20t05:04:09,858123z""#, Some(SENT_US)),
        (r#""2026-11-20T05:04:09.858123+00:00""#, Some(SENT_US)),
        (r#""2026-11-20T08:04:09.858123+03""#, Some(SENT_US)),
        (r#""2026-11-20T08:04:09.858123+0300""#, Some(SENT_US)),
        (r#""2026-11-20T10:34:09.858123+05:30""#, Some(SENT_US)),
        (r#""2026-11-19T21:04:09.858123-08:00""#, Some(SENT_US)),
        (r#"" 2026-11-20 05:04:09.858123 UTC ""#, Some(SENT_US)),
        (r#""2026-11-20T05:04:09Z""#, Some(SENT_S)),
        (r#""2026-11-20T05:04:09.8Z""#, Some(SENT_S + 800_000)),
        (r#""2026-11-20T05:04Z""#, Some(SENT_S - 9 * SECOND_US)),
        (r#""2026-11-20""#, Some(1_795_132_800 * SECOND_US)),
        (r#""Fri, 20 Nov 2026 05:04:09 GMT""#, Some(SENT_S)),
        (r#""Fri, 20 Nov 2026 06:04:09 +0100""#, Some(SENT_S)),
        ("1795151049", Some(SENT_S)),
        ("1795151049.858123", Some(SENT_US)),
        ("1795151049858", Some(SENT_US - 123)),
        (r#""1795151049""#, Some(SENT_S)),
        (r#""1795151049858""#, Some(SENT_US - 123)),
        (r#""1970-01-01T00:00:00Z""#, Some(0)),
        (r#""1969-12-31T23:59:59.999999Z""#, Some(-1)),
        (r#""2024-02-29T00:00:00Z""#, Some(1_709_164_800 * SECOND_US)),
        (r#""2000-02-29T00:00:00Z""#, Some(951_782_400 * SECOND_US)),
        (r#""2016-12-31T23:59:60Z""#, Some(1_483_228_800 * SECOND_US)),
        (r#""0000-01-01T00:00:00Z""#, Some(YEAR_0_US)),
        (r#""-000001-12-31T00:00:00Z""#, Some(YEAR_0_US - DAY_US)),
        (r#""2023-02-29T00:00:00Z""#, None),
        (r#""1900-02-29T00:00:00Z""#, None),
        (r#""2026-13-20T05:04:09Z""#, None),
        (r#""2026-11-20T25:04:09Z""#, None),
        (r#""2026-11-20T05:04:09Z tomorrow""#, None),
        (r#""2026-11-20T05:04:09.Z""#, None),
        (r#""2026""#, None),
        (r#""now""#, None),
        (r#""""#, None),
        ("null", None),
        ("true", None),
        ("{}", None),
    ] {
        assert_eq!(parse(Json::scanned(json)), expected, "{json}");
    }
}

/// chrono is the oracle over four centuries.
#[test]
fn days_are_counted_as_chrono_does() {
    let mut date = chrono::NaiveDate::from_ymd_opt(1799, 12, 20).unwrap();
    for _ in 0..150_000 {
        let text = date.format("%Y-%m-%d").to_string();
        let expected = date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros();
        assert_eq!(parse_text(&text), Some(expected), "{text}");
        date = date.succ_opt().unwrap();
    }
}

#[test]
fn times_of_sending_are_milliseconds_after_2020() {
    for (text, expected) in [
        ("1795151049858", Some(SENT_US - 123)),
        ("2026-11-20T05:04:09.858123Z", Some(SENT_US)),
        ("1795151049", None),
        ("1609459199999", None),
        ("1609459200000", Some(QUERY_SENT_AT_MIN_US)),
        ("-1", None),
        ("99999999999999999999", None),
        ("", None),
    ] {
        assert_eq!(parse_sent_at(text), expected, "{text}");
    }
}

#[test]
fn client_clocks_are_corrected_and_the_future_is_refused() {
    let client = |timestamp_us, sent_at_us, offset_us| ClientTime { timestamp_us, offset_us, sent_at_us };
    for (what, client, expected, used) in [
        ("nothing sent", client(None, None, None), NOW_US, false),
        ("only a time of sending", client(None, Some(NOW_US), None), NOW_US, false),
        ("no time of sending", client(Some(NOW_US - 5), None, None), NOW_US - 5, false),
        ("right clock", client(Some(NOW_US - 5), Some(NOW_US), None), NOW_US - 5, true),
        ("clock an hour ahead", client(Some(NOW_US + HOUR_US - 7), Some(NOW_US + HOUR_US), None), NOW_US - 7, true),
        ("clock years behind", client(Some(9), Some(10), None), NOW_US - 1, true),
        ("offset wins", client(Some(5), Some(10), Some(1_500_000)), NOW_US - 1_500_000, false),
        ("22 hours ahead", client(Some(NOW_US + 22 * HOUR_US), None, None), NOW_US + 22 * HOUR_US, false),
        ("23 hours ahead", client(Some(NOW_US + 23 * HOUR_US), None, None), NOW_US + 23 * HOUR_US, false),
        ("24 hours ahead", client(Some(NOW_US + 24 * HOUR_US), None, None), NOW_US, false),
        ("24 hours ahead by correction", client(Some(24 * HOUR_US), Some(0), None), NOW_US, true),
        ("negative offset", client(None, None, Some(-24 * HOUR_US)), NOW_US, false),
        ("far past", client(Some(-2_208_988_800 * SECOND_US), None, None), -2_208_988_800 * SECOND_US, false),
        ("year 0", client(Some(YEAR_0_US), None, None), YEAR_0_US, false),
        ("before year 0", client(Some(YEAR_0_US - 1), None, None), 0, false),
        ("overflow", client(Some(i64::MIN), Some(i64::MAX), None), 0, true),
    ] {
        let expected = EventTime { timestamp_us: expected, used_sent_at: used };
        assert_eq!(event_time(client, NOW_US), expected, "{what}");
    }
}

#[test]
fn offsets_are_milliseconds() {
    for (json, expected) in [
        ("1227", Some(1_227_000)),
        ("0.5", Some(500)),
        (r#""12""#, Some(12_000)),
        ("null", None),
        ("{}", None),
        (r#""x""#, None),
        (r#""NaN""#, None),
    ] {
        assert_eq!(parse_milliseconds(Json::scanned(json)), expected, "{json}");
    }
}

#[test]
fn times_are_written_in_utc() {
    assert_eq!(format(SENT_US), "2026-11-20T05:04:09.858123Z");
    assert_eq!(format(SENT_S), "2026-11-20T05:04:09.000Z");
}
