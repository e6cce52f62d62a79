//! Proof that nothing is lost and nothing doubled.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::clients::pyiceberg;
use super::server::Server;

/// Positions of each writer run from 1 without a gap and without a repeat, in all rows that queries see.
pub(crate) fn assert_positions_have_no_gap(server: &Server) {
    assert_positions_of(server, "hogflare_events");
}

/// The same of any table of ours.
pub(crate) fn assert_positions_of(server: &Server, table: &str) {
    // Anyone can ask this of any copy of the table.
    let by_writer = format!(
        "select _writer, count(*) as n, count(distinct _position) as positions, \
            min(_position) as first, max(_position) as last \
         from {table} where _writer is not null group by _writer order by _writer"
    );
    for row in server.sql(&by_writer).rows {
        assert_contiguous(&row);
    }
}

/// The same in the committed rows, read by PyIceberg. Returns how many they are.
pub(crate) fn assert_committed_positions_have_no_gap(server: &Server) -> u64 {
    assert_committed_positions_of(server, "hogflare_events")
}

pub(crate) fn assert_committed_positions_of(server: &Server, table: &str) -> u64 {
    let answer = pyiceberg(server, json!({"op": "audit", "table": table}));
    for row in answer["writers"].as_array().expect("writers") {
        assert_contiguous(row.as_array().expect("row"));
    }
    answer["rows"].as_u64().expect("rows")
}

fn assert_contiguous(row: &[Value]) {
    let [writer, rows, positions, first, last] = row else { panic!("not an audit row: {row:?}") };
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("not a number in {row:?}"));
    assert_eq!(number(first), 1, "the first position of {writer} is gone: {row:?}");
    assert_eq!(number(rows), number(last) - number(first) + 1, "rows of {writer} are lost or doubled: {row:?}");
    assert_eq!(number(positions), number(rows), "a position of {writer} occurs twice: {row:?}");
}

/// How often each uuid occurs now, asked once through SQL.
#[derive(Debug)]
pub(crate) struct Occurrences(HashMap<Uuid, usize>);

impl Occurrences {
    pub(crate) fn ask(server: &Server) -> Self {
        let mut occurrences = HashMap::new();
        for text in server.sql_column("select uuid from hogflare_events") {
            let uuid = Uuid::parse_str(text.trim_matches('"')).unwrap_or_else(|error| panic!("{error}: {text}"));
            *occurrences.entry(uuid).or_default() += 1;
        }
        Occurrences(occurrences)
    }

    pub(crate) fn assert_each_once<'a>(&self, acknowledged: impl IntoIterator<Item = &'a Uuid>) {
        let (mut lost, mut total) = (Vec::new(), 0);
        for uuid in acknowledged {
            total += 1;
            if !self.0.contains_key(uuid) {
                lost.push(uuid);
            }
        }
        let shown = &lost[..lost.len().min(10)];
        assert!(lost.is_empty(), "{} of {total} acknowledged events are lost, such as {shown:?}", lost.len());
        let doubled: Vec<_> = self.0.iter().filter(|(_, times)| **times > 1).take(10).collect();
        assert!(doubled.is_empty(), "events are stored more than once, such as {doubled:?}");
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
