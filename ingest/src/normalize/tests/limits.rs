//! Bad events beside good ones, sizes, and how the request is answered.

use std::collections::HashSet;

use super::*;

const GOOD: &str = r#"{"event":"good","distinct_id":"u"}"#;

fn batch(events: &[&str]) -> Result<Normalized, Refusal> {
    run(&facts(), &format!(r#"{{"api_key":"t","batch":[{}]}}"#, events.join(",")))
}

#[test]
fn a_bad_event_leaves_its_neighbours_and_a_dead_letter() {
    let deep =
        format!(r#"{{"event":"e","distinct_id":"u","properties":{{"a":{}{}}}}}"#, "[".repeat(127), "]".repeat(127));
    let large = format!(r#"{{"event":"e","distinct_id":"u","properties":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    for (bad, reason, code_alone) in [
        (r#"{"distinct_id":"u"}"#, Reason::MissingEvent, "missing_event"),
        (r#"{"event":null,"distinct_id":"u"}"#, Reason::MissingEvent, "missing_event"),
        (r#"{"event":5,"distinct_id":"u"}"#, Reason::MissingEvent, "missing_event"),
        (r#"{"event":"","distinct_id":"u"}"#, Reason::EmptyEvent, "empty_event"),
        (r#"{"event":"e"}"#, Reason::MissingDistinctId, "missing_distinct_id"),
        (r#"{"event":"e","distinct_id":"u","uuid":"x"}"#, Reason::InvalidUuid, "invalid_uuid"),
        (r#"{"event":"e","distinct_id":"u","properties":[]}"#, Reason::InvalidProperties, "invalid_properties"),
        ("null", Reason::NotAnObject, "not_an_object"),
        ("[1]", Reason::NotAnObject, "not_an_object"),
        (&deep, Reason::TooDeep, "too_deep"),
        (&large, Reason::EventTooLarge, "event_too_large"),
        (r#"{"event":"$snapshot","distinct_id":"u"}"#, Reason::RecordingOff, "stored"),
    ] {
        let mixed = batch(&[GOOD, bad, GOOD]).unwrap();
        assert_eq!(mixed.events.iter().map(CapturedEvent::name).collect::<Vec<_>>(), ["good", "good"]);
        let header = format!("1; reason={}", reason.as_str());
        assert_eq!(mixed.outcome(), Outcome::Stored { rejected_header: Some(header) });
        let [rejected] = &mixed.rejected[..] else { panic!("{bad}: {:?}", mixed.rejected) };
        let row = rejected.as_row();
        assert_eq!((rejected.reason, row.item, row.path, row.api_key), (reason, Some(1), "/capture", Some("t")));
        assert_eq!(row.raw_length_bytes, bad.len() as i64);
        assert_eq!(row.raw, Some(&bad.as_bytes()[..bad.len().min(16 << 10)]));
        assert!(row.detail.is_some_and(|detail| !detail.is_empty() && detail.len() <= 500));
        let alone = batch(&[bad]);
        assert_eq!(alone.as_ref().unwrap().rejected.len(), 1, "the dead letter is written in any case");
        assert_eq!(code(alone), code_alone, "{bad}");
    }
}

#[test]
fn the_first_fault_answers_when_nothing_is_stored() {
    let bad = [r#"{"event":"e"}"#, r#"{"distinct_id":"u"}"#];
    assert_eq!(code(batch(&bad)), "missing_distinct_id");
    let Outcome::Stored { rejected_header } = batch(&[bad[0], bad[1], GOOD]).unwrap().outcome() else { panic!() };
    assert_eq!(rejected_header.as_deref(), Some("2; reason=missing_distinct_id"));
    assert_eq!(code(batch(&[bad[0], r#"{"event":"$snapshot"}"#])), "stored", "the recording is kept");
}

#[test]
fn limits_hold_at_their_edge() {
    // 128 levels: event, properties, 126 arrays.
    let nested =
        format!(r#"{{"event":"e","distinct_id":"u","properties":{{"a":{}{}}}}}"#, "[".repeat(126), "]".repeat(126));
    assert_eq!(code(batch(&[&nested])), "stored");
    let fits = format!(
        r#"{{"event":"e","distinct_id":"u","properties":{{"a":"{}"}}}}"#,
        "x".repeat((1 << 20) - crate::enrich::ADDED_BYTES_MAX - 8)
    );
    assert_eq!(code(batch(&[&fits])), "stored");
    assert_eq!(code(batch(&[&fits.replace("xxx", "xxxx")])), "event_too_large");
    let long = "é".repeat(201);
    let named = batch(&[&GOOD.replace("good", &long)]).unwrap();
    assert_eq!(named.events[0].name(), &long[..400]);
}

#[test]
fn performance_events_are_dropped_and_counted() {
    let dropped = batch(&[r#"{"event":"$performance_event","distinct_id":"u"}"#]).unwrap();
    assert_eq!((dropped.events.len(), dropped.rejected.len(), dropped.dropped_performance_events), (0, 0, 1));
    assert_eq!(dropped.outcome(), Outcome::Stored { rejected_header: None });
}

#[test]
fn recordings_are_kept_aside_whatever_they_are() {
    let facts = RequestFacts { endpoint: Endpoint::Recording, ..facts() };
    let mut agent = facts.clone();
    agent.headers.user_agent = Some("posthog-ios/3.1 (iPhone)".to_owned());
    let normalized =
        run(&agent, r#"[{"event":"$snapshot","api_key":"t","distinct_id":7},5,{"event":"other","uuid":"x"}]"#).unwrap();
    let rows: Vec<_> = normalized.rejected.iter().map(Rejected::as_row).collect();
    let told: Vec<_> =
        rows.iter().map(|row| (row.reason, row.event, row.distinct_id, row.event_uuid, row.lib)).collect();
    let lib = Some("posthog-ios/3.1");
    assert_eq!(
        told,
        [
            ("recording_off", Some("$snapshot"), Some("7"), None, lib),
            ("recording_off", None, None, None, lib),
            ("recording_off", Some("other"), None, Some("x"), lib),
        ]
    );
    let uuids: HashSet<_> = rows.iter().map(|row| row.uuid).collect();
    assert_eq!(uuids.len(), 3);
}

#[test]
fn shapes_and_refusals() {
    for (body, expected) in [
        (r#"{"api_key":"t","batch":[{"event":"e","distinct_id":"u"}],"sent_at":null}"#, "stored"),
        (r#"{"batch":[{"event":"e","distinct_id":"u"}],"api_key":"t"}"#, "stored"),
        (r#"[{"event":"e","distinct_id":"u","token":"t"}]"#, "stored"),
        (r#"{"event":"e","distinct_id":"u","token":"t"}"#, "stored"),
        (r#"{"event":"e","distinct_id":"u","token":"t","batch":5}"#, "stored"),
        (r#"{"event":"e","distinct_id":"u","token":"t","properties":{"batch":[]}}"#, "stored"),
        (r#"{"api_key":"t","batch":[]}"#, "no_events"),
        ("[]", "no_events"),
        ("{}", "missing_token"),
        (r#"{"api_key":"t"}"#, "missing_event"),
        ("5", "invalid_json"),
        ("{", "invalid_json"),
        ("{}x", "invalid_json"),
        ("", "empty_body"),
    ] {
        assert_eq!(code(run(&facts(), body)), expected, "{body}");
    }
}

#[test]
fn requests_with_too_many_parts_are_refused() {
    let limits = crate::protocol::DecodeLimits { batch_events_max: 2, members_max: 6, ..Default::default() };
    for (body, expected) in [
        (r#"[{"a":1,"b":1},{"properties":{"a":1,"b":1}}]"#, None),
        (r#"[1,2,3]"#, Some(Code::BodyTooLarge)),
        (r#"{"api_key":"t","batch":[1,2,3]}"#, Some(Code::BodyTooLarge)),
        (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}"#, Some(Code::BodyTooLarge)),
        (r#"[{"properties":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}}]"#, Some(Code::BodyTooLarge)),
        (r#"[{"a":1,"b":1,"c":1,"d":1},{"a":1,"b":1,"c":1}]"#, Some(Code::BodyTooLarge)),
    ] {
        let refused = crate::protocol::decode(&facts(), body.as_bytes().to_vec().into(), &limits).err();
        assert_eq!(refused.map(|refusal| refusal.code), expected, "{body}");
    }
}
