//! Where one event is, and what became of it.

use std::sync::Arc;

use arrow::json::ArrayWriter;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use futures::TryStreamExt;
use hogflare_catalog::plan::{Bound, PlannedFile, plan_files};
use hogflare_catalog::{ReadView, Slot, Table, TableHead, WriterId};
use serde_json::{Map, Value, json};

use crate::engine::execute;
use crate::error::{Result, internal};
use crate::params::Params;
use crate::scan::ScanContext;
use crate::scoped::Scope;
use crate::settings::QuerySettings;
use crate::tables::QueryTables;

const EVENTS: &str = include_str!("../../sql/trace/events.sql");
const DEAD_LETTERS: &str = include_str!("../../sql/trace/dead_letters.sql");
const PERSON_CHANGES: &str = include_str!("../../sql/trace/person_changes.sql");
const MOVES: &str = include_str!("../../sql/trace/moves.sql");

/// One look at the tables, all at one instant.
pub(crate) struct Trace {
    pub(crate) settings: QuerySettings,
    pub(crate) session: Arc<SessionState>,
    pub(crate) scans: Arc<ScanContext>,
    pub(crate) writer: WriterId,
    pub(crate) view: Arc<ReadView>,
}

impl Trace {
    /// What is stored under the event's uuid: its rows with their places, dead letters with their reasons,
    /// the persons that it changed, and the moves of its distinct id. Nothing if it was never received.
    pub(crate) async fn run(self, uuid: &str) -> Result<Option<Value>> {
        let view = Arc::clone(&self.view);
        let tables = QueryTables::new(&self.settings, view, None, Scope::All, &self.scans, &self.session);
        let by_uuid = || vec![text(uuid)];
        let mut events = rows(&tables, EVENTS, by_uuid()).await?;
        let mut dead_letters = rows(&tables, DEAD_LETTERS, by_uuid()).await?;
        if events.is_empty() && dead_letters.is_empty() {
            return Ok(None);
        }
        let person_changes = rows(&tables, PERSON_CHANGES, by_uuid()).await?;
        let mut moves = Vec::new();
        for event in &events {
            let key = ["project", "distinct_id"].map(|name| text(event[name].as_str().unwrap_or_default()));
            moves.extend(rows(&tables, MOVES, key.to_vec()).await?);
        }
        for (table, found) in [(Table::Events, &mut events), (Table::DeadLetter, &mut dead_letters)] {
            for row in found {
                let place = self.place(table, row).await?;
                row.insert("place".to_owned(), place);
            }
        }
        Ok(Some(json!({
            "uuid": uuid,
            "events": events,
            "dead_letters": dead_letters,
            "person_changes": person_changes,
            "moves_of_distinct_id": moves,
        })))
    }

    /// Where a row is: in memory, in a sealed file, or in the table, with the snapshot that brought it.
    async fn place(&self, table: Table, row: &Map<String, Value>) -> Result<Value> {
        let (writer, position) = (row["log_writer"].as_str().unwrap_or_default(), row["log_position"].as_u64());
        let Some(position) = position else { return Ok(json!({"state": "of another writer"})) };
        for slot in Slot::ALL.into_iter().filter(|slot| self.writer.slot_id(*slot) == writer) {
            let tail = self.view.tail(table, slot);
            if tail.chunks.iter().any(|chunk| (chunk.first_position..=chunk.last_position()).contains(&position)) {
                return Ok(json!({"state": "in memory and in the log, not in the table yet"}));
            }
            let covers = |after: u64, through: u64| after < position && position <= through;
            if let Some(range) = tail.sealed.iter().find(|range| covers(range.record.after, range.record.through)) {
                let files: Vec<&str> = range.record.files.iter().map(|file| file.name.as_str()).collect();
                return Ok(json!({"state": "sealed on this machine, not in the table yet", "files": files}));
            }
        }
        let Some(head) = self.view.head(table) else { return Ok(Value::Null) };
        let snapshot = head.snapshots().into_iter().find(|snapshot| {
            let number = |key: &str| snapshot.summary.get(key)?.parse::<u64>().ok();
            let is_of = snapshot.summary.get("hogflare.writer").is_some_and(|of| of == writer);
            let (after, through) = (number("hogflare.after"), number("hogflare.through"));
            is_of && after.is_some_and(|after| after < position) && through.is_some_and(|through| position <= through)
        });
        let files = plan_files(head, &self.scans.metadata).await.map_err(|error| internal(&error))?;
        let files: Vec<&str> = files
            .iter()
            .filter(|file| may_hold(file, table, head, writer, position))
            .map(|file| file.location.as_str())
            .collect();
        Ok(json!({
            "state": "in the table",
            "snapshot_id": snapshot.as_ref().map(|snapshot| snapshot.id.to_string()),
            "committed_at_ms": snapshot.as_ref().map(|snapshot| snapshot.committed_at_ms),
            "files": files,
        }))
    }
}

/// Whether the bounds of a file leave room for the row.
fn may_hold(file: &PlannedFile, table: Table, head: &TableHead, writer: &str, position: u64) -> bool {
    let within = |name: &str, fits: &dyn Fn(&Bound, &Bound) -> bool| {
        let id = table.column_index(name).and_then(|index| head.binding.id(index));
        let statistics = file.statistics.iter().find(|statistics| Some(statistics.field_id) == id);
        match statistics.map(|statistics| (&statistics.lower, &statistics.upper)) {
            Some((Some(lower), Some(upper))) => fits(lower, upper),
            _ => true,
        }
    };
    let is_number = |lower: &Bound, upper: &Bound| match (lower, upper) {
        (Bound::Long(lower), Bound::Long(upper)) => {
            i64::try_from(position).is_ok_and(|position| (*lower..=*upper).contains(&position))
        }
        _ => true,
    };
    let is_writer = |lower: &Bound, upper: &Bound| match (lower, upper) {
        (Bound::Text(lower), Bound::Text(upper)) => lower.as_str() <= writer && writer <= upper.as_str(),
        _ => true,
    };
    within("_position", &is_number) && within("_writer", &is_writer)
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

async fn rows(tables: &Arc<QueryTables>, sql: &str, params: Vec<ScalarValue>) -> Result<Vec<Map<String, Value>>> {
    let batches = execute(tables, sql, Params::Positional(params)).await?;
    let batches: Vec<_> = batches.try_collect().await?;
    let mut writer = ArrayWriter::new(Vec::new());
    writer
        .write_batches(&batches.iter().collect::<Vec<_>>())
        .and_then(|()| writer.finish())
        .map_err(|e| internal(&e))?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|error| internal(&error))
}
