//! Persons, groups and who is whom, as senders and analysts meet them.

mod bounds;
mod flow;
mod groups;
mod kill;
mod merge;
mod operations;
mod projects;
mod races;
mod record;
mod refusals;
mod state;
mod traffic;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::values::parsed;
use crate::harness::{PROJECT, Server};

/// PostHog's namespace of person ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x932979b4_65c3_4424_8467_0b66ec27bc22);

/// The id of a person that begins with this distinct id.
fn person_id(project: &str, distinct_id: &str) -> String {
    Uuid::new_v5(&NAMESPACE, format!("{project}:{distinct_id}").as_bytes()).to_string()
}

/// An event without a project, for a batch.
fn event(name: &str, distinct_id: &str, properties: Value) -> Value {
    json!({"event": name, "distinct_id": distinct_id, "uuid": Uuid::now_v7(), "properties": properties})
}

fn identify(distinct_id: &str, anonymous: &str) -> Value {
    event("$identify", distinct_id, json!({"$anon_distinct_id": anonymous}))
}

fn alias(distinct_id: &str, alias: &str) -> Value {
    event("$create_alias", distinct_id, json!({"alias": alias}))
}

fn send_batch(server: &Server, project: &str, events: &[Value]) {
    server.capture("/batch/", &json!({"api_key": project, "batch": events}));
}

fn send(server: &Server, events: &[Value]) {
    send_batch(server, PROJECT, events);
}

/// Everything that waits reaches the tables: an orderly stop commits it.
fn commit(server: &mut Server) {
    server.stop();
    server.restart();
}

/// Rows as objects, with columns of JSON read.
fn objects(server: &Server, sql: &str, json_columns: &[&str]) -> Vec<Map<String, Value>> {
    let mut rows = server.sql(sql).objects();
    for row in &mut rows {
        for column in json_columns {
            let value = row.get_mut(*column).unwrap_or_else(|| panic!("no column {column}: {sql}"));
            *value = parsed(value);
        }
    }
    rows
}

/// The rows of a statement as one JSON value, for comparison with what a person wrote down.
fn table(server: &Server, sql: &str) -> Value {
    json!(server.sql(sql).rows)
}
