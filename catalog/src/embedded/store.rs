//! Namespaces and table pointers in SQLite. A pointer moves in one synced transaction.

use std::collections::HashMap;
use std::path::Path;

use iceberg::{NamespaceIdent, TableIdent};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use crate::error::{Error, Result};

const FORMAT: i64 = 1;
/// Stands between the levels of a namespace, as in the REST protocol.
const LEVEL_SEPARATOR: char = '\u{1f}';

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

pub(super) type Properties = HashMap<String, String>;

/// A table's pointer and where it goes; a new table comes from nowhere.
#[derive(Debug)]
pub(super) struct TableMove<'a> {
    pub(super) table: &'a TableIdent,
    pub(super) uuid: Uuid,
    pub(super) from: Option<&'a str>,
    pub(super) to: &'a str,
}

/// Pointers that were moved, and will be back unless this is committed.
#[derive(Debug)]
pub(super) struct Moved<'a>(Transaction<'a>);

impl Moved<'_> {
    /// Durable when this returns; after an error nobody knows.
    pub(super) fn commit(self) -> Result<()> {
        self.0.commit().map_err(Error::sqlite("commit the tables' pointers"))
    }
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Store> {
        let failed = Error::sqlite("open the catalog database");
        let connection = Connection::open(path).map_err(&failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL);
                 CREATE TABLE IF NOT EXISTS namespaces (name TEXT PRIMARY KEY, properties TEXT NOT NULL);
                 CREATE TABLE IF NOT EXISTS tables (
                     namespace TEXT NOT NULL, name TEXT NOT NULL, uuid TEXT NOT NULL,
                     metadata_location TEXT NOT NULL, previous_location TEXT, updated_ms INTEGER NOT NULL,
                     PRIMARY KEY (namespace, name));",
            )
            .map_err(&failed)?;
        let format: Option<i64> =
            connection.query_row("SELECT format FROM meta", [], |row| row.get(0)).optional().map_err(&failed)?;
        match format {
            None => {
                connection.execute("INSERT INTO meta (format) VALUES (?)", [FORMAT]).map_err(&failed)?;
            }
            Some(found) if found > FORMAT => {
                return Err(Error::Refused(format!(
                    "{} has format {found}, written by a later release; this one reads format {FORMAT}",
                    path.display()
                )));
            }
            Some(_) => {}
        }
        Ok(Store { connection })
    }

    pub(super) fn namespaces(&self) -> Result<Vec<NamespaceIdent>> {
        let failed = Error::sqlite("list namespaces");
        let mut statement =
            self.connection.prepare_cached("SELECT name FROM namespaces ORDER BY name").map_err(&failed)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&failed)?;
        names.map(|name| Ok(namespace_of(&name.map_err(&failed)?))).collect()
    }

    pub(super) fn namespace(&self, namespace: &NamespaceIdent) -> Result<Option<Properties>> {
        let text: Option<String> = self
            .connection
            .query_row("SELECT properties FROM namespaces WHERE name = ?", [name_of(namespace)], |row| row.get(0))
            .optional()
            .map_err(Error::sqlite("read a namespace"))?;
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or_default()))
    }

    /// False if it exists.
    pub(super) fn create_namespace(&self, namespace: &NamespaceIdent, properties: &Properties) -> Result<bool> {
        let text = serde_json::to_string(properties).expect("plain data");
        let inserted = self
            .connection
            .execute("INSERT OR IGNORE INTO namespaces (name, properties) VALUES (?, ?)", [name_of(namespace), text]);
        Ok(inserted.map_err(Error::sqlite("create a namespace"))? == 1)
    }

    pub(super) fn set_namespace_properties(&self, namespace: &NamespaceIdent, properties: &Properties) -> Result<()> {
        let text = serde_json::to_string(properties).expect("plain data");
        let updated =
            self.connection.execute("UPDATE namespaces SET properties = ? WHERE name = ?", [text, name_of(namespace)]);
        updated.map(|_| ()).map_err(Error::sqlite("change a namespace"))
    }

    pub(super) fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let dropped = self.connection.execute("DELETE FROM namespaces WHERE name = ?", [name_of(namespace)]);
        dropped.map(|_| ()).map_err(Error::sqlite("drop a namespace"))
    }

    pub(super) fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let failed = Error::sqlite("list tables");
        let mut statement = self
            .connection
            .prepare_cached("SELECT name FROM tables WHERE namespace = ? ORDER BY name")
            .map_err(&failed)?;
        let names = statement.query_map([name_of(namespace)], |row| row.get::<_, String>(0)).map_err(&failed)?;
        names.map(|name| Ok(TableIdent::new(namespace.clone(), name.map_err(&failed)?))).collect()
    }

    /// Location of the table's metadata.
    pub(super) fn table(&self, table: &TableIdent) -> Result<Option<String>> {
        self.connection
            .query_row(
                "SELECT metadata_location FROM tables WHERE namespace = ? AND name = ?",
                [name_of(table.namespace()), table.name().to_owned()],
                |row| row.get(0),
            )
            .optional()
            .map_err(Error::sqlite("read a table's pointer"))
    }

    /// Every table with the location of its metadata.
    pub(super) fn pointers(&self) -> Result<Vec<(TableIdent, String)>> {
        let failed = Error::sqlite("list table pointers");
        let mut statement =
            self.connection.prepare_cached("SELECT namespace, name, metadata_location FROM tables").map_err(&failed)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)));
        let pointers = rows.map_err(&failed)?.map(|row| {
            let (namespace, name, location) = row.map_err(&failed)?;
            Ok((TableIdent::new(namespace_of(&namespace), name), location))
        });
        pointers.collect()
    }

    /// Moves all pointers that still are where they are said to be; none if one of them is not.
    pub(super) fn prepare(&mut self, moves: &[TableMove<'_>], now_ms: i64) -> Result<Option<Moved<'_>>> {
        let failed = Error::sqlite("move the tables' pointers");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        for TableMove { table, uuid, from, to } in moves {
            let (namespace, uuid) = (name_of(table.namespace()), uuid.to_string());
            let changed = match from {
                Some(from) => transaction.execute(
                    "UPDATE tables SET uuid = ?, metadata_location = ?, previous_location = metadata_location, \
                     updated_ms = ? WHERE namespace = ? AND name = ? AND metadata_location = ?",
                    params![uuid, to, now_ms, namespace, table.name(), from],
                ),
                None => transaction.execute(
                    "INSERT OR IGNORE INTO tables (namespace, name, uuid, metadata_location, updated_ms) \
                     VALUES (?, ?, ?, ?, ?)",
                    params![namespace, table.name(), uuid, to, now_ms],
                ),
            };
            if changed.map_err(&failed)? != 1 {
                return Ok(None);
            }
        }
        Ok(Some(Moved(transaction)))
    }

    /// False if there is no such table, or one of the new name.
    pub(super) fn rename_table(&self, from: &TableIdent, to: &TableIdent, now_ms: i64) -> Result<bool> {
        let renamed = self.connection.execute(
            "UPDATE OR IGNORE tables SET namespace = ?, name = ?, updated_ms = ? WHERE namespace = ? AND name = ?",
            params![name_of(to.namespace()), to.name(), now_ms, name_of(from.namespace()), from.name()],
        );
        Ok(renamed.map_err(Error::sqlite("rename a table"))? == 1)
    }

    pub(super) fn drop_table(&self, table: &TableIdent) -> Result<()> {
        let dropped = self.connection.execute(
            "DELETE FROM tables WHERE namespace = ? AND name = ?",
            [name_of(table.namespace()), table.name().to_owned()],
        );
        dropped.map(|_| ()).map_err(Error::sqlite("drop a table's pointer"))
    }
}

/// The levels of a namespace as one name, by which namespaces are sorted.
pub(super) fn name_of(namespace: &NamespaceIdent) -> String {
    namespace.as_ref().join(&LEVEL_SEPARATOR.to_string())
}

pub(super) fn namespace_of(name: &str) -> NamespaceIdent {
    let levels = name.split(LEVEL_SEPARATOR).map(str::to_owned).collect();
    NamespaceIdent::from_vec(levels).unwrap_or_else(|_| NamespaceIdent::new(name.to_owned()))
}
