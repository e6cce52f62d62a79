//! Which clock counts, and the slot that follows from it.

use hogflare_catalog::tables::Slot;

use super::*;

const HOUR_US: i64 = 3_600_000_000;

#[test]
fn the_first_usable_time_of_sending_corrects_the_clock() {
    // Happened at 05:00:00 by a clock that was sent from at 05:00:07 or 05:00:09; received at 05:30.
    let event = r#""event":"e","distinct_id":"u","timestamp":"2026-11-20T05:00:00Z""#;
    let seven = "2026-11-20T05:00:07Z";
    let sent = r#"{"$sent_at":"2026-11-20T05:00:07.000Z"}"#;
    let uncorrected = NOW_US - HOUR_US / 2;
    let ignored = r#""properties":{"$ignore_sent_at":true}"#;
    for (what, query, body, timestamp_us, extra) in [
        (
            "envelope",
            None,
            format!(r#"{{"api_key":"t","sent_at":"{seven}","batch":[{{{event},"sent_at":"2026-11-20T05:00:09Z"}}]}}"#),
            NOW_US - 7_000_000,
            Some(sent),
        ),
        ("event", None, format!(r#"[{{{event},"token":"t","sent_at":"{seven}"}}]"#), NOW_US - 7_000_000, Some(sent)),
        (
            "query _",
            Some(("_", "1795150807000")),
            format!(r#"[{{{event},"token":"t"}}]"#),
            NOW_US - 7_000_000,
            Some(sent),
        ),
        (
            "query sent_at",
            Some(("sent_at", "1795150807000")),
            format!(r#"[{{{event},"token":"t"}}]"#),
            NOW_US - 7_000_000,
            Some(sent),
        ),
        ("query in seconds", Some(("_", "1795150807")), format!(r#"[{{{event},"token":"t"}}]"#), uncorrected, None),
        ("unreadable", None, format!(r#"{{"api_key":"t","sent_at":"soon","batch":[{{{event}}}]}}"#), uncorrected, None),
        ("none", None, format!(r#"{{"api_key":"t","batch":[{{{event}}}]}}"#), uncorrected, None),
        (
            "ignored",
            None,
            format!(r#"{{"api_key":"t","sent_at":"{seven}","batch":[{{{event},{ignored}}}]}}"#),
            uncorrected,
            None,
        ),
        (
            "offset",
            None,
            format!(r#"{{"api_key":"t","sent_at":"{seven}","batch":[{{{event},"offset":1500}}]}}"#),
            NOW_US - 1_500_000,
            None,
        ),
        (
            "migration",
            None,
            format!(r#"{{"api_key":"t","historical_migration":true,"sent_at":"{seven}","batch":[{{{event}}}]}}"#),
            uncorrected,
            None,
        ),
        (
            "no timestamp",
            None,
            format!(
                r#"{{"api_key":"t","sent_at":"{seven}","batch":[{{"event":"e","distinct_id":"u","timestamp":null}}]}}"#
            ),
            NOW_US,
            None,
        ),
        (
            "unreadable timestamp",
            None,
            format!(
                r#"{{"api_key":"t","sent_at":"{seven}","batch":[{{"event":"e","distinct_id":"u","timestamp":"x"}}]}}"#
            ),
            NOW_US,
            None,
        ),
    ] {
        let mut facts = no_ip();
        facts.query.extend(query.map(|(key, value): (&str, &str)| (key.to_owned(), value.to_owned())));
        let event = one(&facts, &body);
        let row = event.as_row();
        assert_eq!((row.timestamp_us, row.extra), (timestamp_us, extra), "{what}");
        assert_eq!(row.created_at_us, NOW_US, "{what}");
    }
    let mut facts = no_ip();
    facts.headers.sent_at = Some(seven.to_owned());
    assert_eq!(one(&facts, &format!(r#"[{{{event},"token":"t"}}]"#)).timestamp_us, NOW_US - 7_000_000, "header");
    let form = format!("data=[{{{event},\"token\":\"t\"}}]&_=1795150807000&ip=0");
    assert_eq!(one(&no_ip(), &form).timestamp_us, NOW_US - 7_000_000, "form");
}

/// Received on 2026-11-20.
#[test]
fn days_more_than_three_apart_are_late() {
    for (timestamp, migration, slot) in [
        ("2026-11-20T05:30:00Z", false, Slot::Main),
        ("2026-11-17T00:00:00Z", false, Slot::Main),
        ("2026-11-16T23:59:59.999999Z", false, Slot::Late),
        ("1969-01-01T00:00:00Z", false, Slot::Late),
        ("2026-11-20T05:30:00Z", true, Slot::Late),
    ] {
        let event = format!(r#"{{"event":"e","distinct_id":"u","timestamp":"{timestamp}"}}"#);
        let body = format!(r#"{{"api_key":"t","historical_migration":{migration},"batch":[{event}]}}"#);
        assert_eq!(one(&facts(), &body).slot, slot, "{timestamp} {migration}");
    }
}
