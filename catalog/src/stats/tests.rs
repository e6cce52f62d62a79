use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::encode::encode_days;
use crate::tables::{Binding, EventRow, GroupBuilder, SLOTS, Slot, TABLES, iceberg_schema};
use crate::writer_id::WriterId;

#[test]
fn bounds_are_rounded_outwards() {
    let check = |text: &str, lower: &str, upper: Option<&str>| {
        assert_eq!(lower_bound(text), lower);
        assert_eq!(upper_bound(text).as_deref(), upper);
    };
    check("", "", Some(""));
    check("0123456789abcdef", "0123456789abcdef", Some("0123456789abcdef"));
    check("0123456789abcdefg", "0123456789abcdef", Some("0123456789abcdeg"));
    check("0123456789abcde\u{D7FF}x", "0123456789abcde\u{D7FF}", Some("0123456789abcde\u{E000}"));
    check("0123456789abcde\u{10FFFF}x", "0123456789abcde\u{10FFFF}", Some("0123456789abcdf"));
    let last = "\u{10FFFF}".repeat(17);
    check(&last, &"\u{10FFFF}".repeat(16), None);
}

fn random_text(random: &mut StdRng) -> String {
    let alphabet = ['a', 'b', 'é', '\u{D7FF}', '\u{E000}', '😀', '\u{10FFFF}', '\u{1}'];
    let length = [0, 1, 15, 16, 17, 63, 64, 65, 150][random.random_range(0..9)];
    (0..length).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect()
}

/// Iceberg compares strings by their bytes.
#[test]
fn bounds_never_exclude_a_row() {
    let table = Table::Events;
    let schema = iceberg_schema(table).unwrap();
    let binding = Binding::by_name(table, &schema);
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut builder = GroupBuilder::new(WriterId::new(uuid::Uuid::from_u128(1)), [[1; TABLES]; SLOTS]);
        let rows: Vec<(String, Option<String>)> = (0..random.random_range(1..200))
            .map(|_| (random_text(&mut random), random.random_bool(0.8).then(|| random_text(&mut random))))
            .collect();
        for (event, session) in &rows {
            let mut row = EventRow { event, uuid: "u", properties: "{}", ..EventRow::default() };
            row.promoted.session_id = session.as_deref();
            builder.push_event(Slot::Main, &row);
        }
        let parts = builder.finish();
        let files = encode_days(table, &binding, &[parts[0].batch.clone()]).unwrap();
        let placement = Placement { location: "file:///x.parquet".into(), partition_spec_id: 0, day: 0 };
        let file =
            data_file(table, &schema, &placement, &Bytes::from(files.into_iter().next().unwrap().bytes)).unwrap();
        let bounds = |name: &str| {
            let id = schema.field_id_by_name(name).unwrap();
            let text = |datum: Option<&Datum>| datum.map(|datum| datum.to_bytes().unwrap().into_vec());
            (text(file.lower_bounds().get(&id)), text(file.upper_bounds().get(&id)))
        };
        let check = |name: &str, value: &str| {
            let (lower, upper) = bounds(name);
            assert!(lower.is_none_or(|lower| lower.as_slice() <= value.as_bytes()), "seed {seed}: {name} {value:?}");
            assert!(upper.is_none_or(|upper| upper.as_slice() >= value.as_bytes()), "seed {seed}: {name} {value:?}");
        };
        for (event, session) in &rows {
            check("event", event);
            session.iter().for_each(|session| check("session_id", session));
        }
        let nulls = rows.iter().filter(|(_, session)| session.is_none()).count() as u64;
        assert_eq!(file.null_value_counts()[&schema.field_id_by_name("session_id").unwrap()], nulls);
    }
}
