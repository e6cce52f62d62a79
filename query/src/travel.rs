//! Reading tables as they were: at a time, or at snapshots that the query names.
//!
//! A read of the past never includes the tail, in no table of the query: the watermark has no history,
//! and rows that are not committed belong to no snapshot.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};
use hogflare_catalog::history::{AsOf, SnapshotRef};
use hogflare_catalog::{Table, TableView};

use crate::error::{ErrorCode, Result, SqlError};

/// Where to find what can be asked for.
const HINT: &str = "select table_name, snapshot_id, committed_at from lake.snapshots lists those that are kept";

/// When the tables of a query are read. The default is each at its current snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeTravel {
    /// Milliseconds since 1970.
    as_of_ms: Option<i64>,
    /// By the table's name as the client wrote it; these do not follow `as_of`.
    snapshots: BTreeMap<String, SnapshotName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SnapshotName {
    Id(i64),
    /// A tag or a branch.
    Reference(String),
}

impl TimeTravel {
    /// From RFC 3339, or from a date, which is its midnight in UTC.
    pub fn set_as_of(&mut self, text: &str) -> Result<()> {
        let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let time = time.or_else(date).ok_or_else(|| {
            invalid(format!("as_of is a time such as 2026-11-20T10:00:00Z or a date such as 2026-11-20, not {text}"))
        })?;
        if self.as_of_ms.replace(time.timestamp_millis()).is_some() {
            return Err(invalid("as_of is given twice".to_owned()));
        }
        Ok(())
    }

    /// `name` is the id of a snapshot (digits), a tag or a branch.
    pub fn set_snapshot(&mut self, table: &str, name: &str) -> Result<()> {
        let name = match name.parse() {
            Ok(id) => SnapshotName::Id(id),
            Err(_) if name.is_empty() => return Err(invalid(format!("snapshots: {table} has no snapshot"))),
            Err(_) => SnapshotName::Reference(name.to_owned()),
        };
        if self.snapshots.insert(table.to_owned(), name).is_some() {
            return Err(invalid(format!("snapshots: {table} is given twice")));
        }
        Ok(())
    }

    /// Replaces the tables' full names by their short ones; a name of no table is an error.
    pub(crate) fn resolve_names(self, prefix: &str) -> Result<TimeTravel> {
        let mut resolved = TimeTravel { as_of_ms: self.as_of_ms, snapshots: BTreeMap::new() };
        for (name, snapshot) in self.snapshots {
            let names = |table: &Table| {
                let short = table.short_name();
                name == short || name.strip_prefix(prefix) == Some(short)
            };
            let Some(table) = Table::ALL.into_iter().find(names) else {
                let known: Vec<&str> = Table::ALL.iter().map(|table| table.short_name()).collect();
                let message = format!("snapshots: there is no table {name}; the tables are {}", known.join(", "));
                return Err(SqlError::new(ErrorCode::UnknownTable, message));
            };
            if resolved.snapshots.insert(table.short_name().to_owned(), snapshot).is_some() {
                return Err(invalid(format!("snapshots: {} is given twice", table.short_name())));
            }
        }
        Ok(resolved)
    }

    /// The table as it was, if its metadata still reaches back to that.
    pub(crate) fn read(&self, table: Table, view: TableView) -> Result<TableView> {
        let short = table.short_name();
        let snapshot = match (self.snapshots.get(short), self.as_of_ms) {
            (Some(name), _) => named(short, name, &view)?,
            (None, Some(time_ms)) => match view.head.snapshot_as_of(time_ms) {
                AsOf::Snapshot(snapshot) => snapshot,
                AsOf::Empty => return Ok(view.empty()),
                AsOf::TooEarly { earliest_ms } => return Err(too_early(short, time_ms, earliest_ms)),
            },
            (None, None) => return Ok(view.committed()),
        };
        let id = snapshot.snapshot_id();
        view.at(snapshot).map_err(|error| {
            invalid(format!("snapshot {id} of {short} cannot be read: {}", hogflare_catalog::error::chain(&error)))
        })
    }
}

fn named(table: &str, name: &SnapshotName, view: &TableView) -> Result<SnapshotRef> {
    let found = match name {
        SnapshotName::Id(id) => view.head.snapshot_by_id(*id),
        SnapshotName::Reference(name) => view.head.snapshot_of_reference(name),
    };
    let missing = || match name {
        SnapshotName::Id(id) => invalid(format!(
            "{table} has no snapshot {id}; it has expired or never was, or lost digits as a number (send ids as text); {HINT}"
        )),
        SnapshotName::Reference(name) => invalid(format!("{table} has no tag or branch {name}; {HINT}")),
    };
    found.cloned().ok_or_else(missing)
}

fn too_early(table: &str, time_ms: i64, earliest_ms: i64) -> SqlError {
    let (asked, earliest) = (time_text(time_ms), time_text(earliest_ms));
    invalid(format!(
        "{table} has no snapshot as of {asked}: the table had no rows then, or its snapshots of that time have \
         expired; the earliest time is {earliest}; {HINT}"
    ))
}

/// RFC 3339, in UTC, of milliseconds since 1970.
pub(crate) fn time_text(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms);
    time.map_or_else(|| format!("{time_ms} ms"), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn invalid(message: String) -> SqlError {
    SqlError::new(ErrorCode::InvalidParameter, message)
}
