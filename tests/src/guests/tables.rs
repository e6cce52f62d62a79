//! Guests make tables of their own beside ours: staged creation, rename, register, several tables at once.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use iceberg::io::LocalFsStorageFactory;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{Catalog, CatalogBuilder, NamespaceIdent, TableCreation, TableIdent};
use iceberg_catalog_rest::{RestCatalog, RestCatalogBuilder};
use serde_json::{Value, json};

use super::{MARKED, is_conflict, send_marked};
use crate::harness::clients::{duckdb, duckdb_with, pyiceberg};
use crate::harness::{ADMIN, Options, Server, skipped};

const EVENTS: &str = "lake.\"default\".hogflare_events";

/// A server whose table holds marked events, and that commits no more until it stops.
fn server_with_rows() -> Server {
    let mut server = Options::new().admin().start();
    send_marked(&server, "changed");
    server.stop();
    server.restart();
    server
}

fn run(server: &Server, statements: &[&str]) {
    let statements: Vec<String> = statements.iter().map(|statement| (*statement).to_owned()).collect();
    duckdb(server, ADMIN, &statements).unwrap_or_else(|error| panic!("{statements:?}: {error}"));
}

fn value(server: &Server, select: &str) -> Value {
    let answers = duckdb(server, ADMIN, &[select.to_owned()]);
    answers.unwrap_or_else(|error| panic!("{select}: {error}"))[0].one().clone()
}

fn count(server: &Server, table: &str) -> Value {
    value(server, &format!("SELECT count(*) FROM {table}"))
}

#[test]
fn duckdb_makes_fills_and_renames_tables() {
    if skipped("clients") {
        return;
    }
    let server = server_with_rows();
    let rows = json!(MARKED);
    assert_eq!(count(&server, EVENTS), rows);
    let select = format!("SELECT uuid, event, browser FROM {EVENTS}");
    run(&server, &["CREATE SCHEMA lake.lab", &format!("CREATE TABLE lake.lab.copy AS {select}")]);
    assert_eq!(count(&server, "lake.lab.copy"), rows, "create table as select");
    let same = format!("SELECT count(*) FROM lake.lab.copy JOIN ({select}) ours USING (uuid, event, browser)");
    assert_eq!(value(&server, &same), rows, "the same rows");

    run(&server, &["ALTER TABLE lake.lab.copy RENAME TO renamed"]);
    assert_eq!(count(&server, "lake.lab.renamed"), rows, "renamed");
    assert!(duckdb(&server, ADMIN, &["SELECT 1 FROM lake.lab.copy".to_owned()]).is_err(), "the old name");
    for refused in [format!("ALTER TABLE {EVENTS} RENAME TO mine"), format!("DROP TABLE {EVENTS}")] {
        let error = duckdb(&server, ADMIN, std::slice::from_ref(&refused)).unwrap_err();
        assert!(error.contains("hogflare's own table"), "{refused}: {error}");
    }
    run(&server, &["DROP TABLE lake.lab.renamed", "DROP SCHEMA lake.lab"]);
    assert_eq!(count(&server, EVENTS), rows);
}

#[test]
fn duckdb_changes_two_tables_in_one_transaction() {
    if skipped("clients") {
        return;
    }
    let server = server_with_rows();
    run(
        &server,
        &["CREATE SCHEMA lake.lab", "CREATE TABLE lake.lab.a (n INTEGER)", "CREATE TABLE lake.lab.b (n INTEGER)"],
    );
    run(&server, &["BEGIN", "INSERT INTO lake.lab.a VALUES (1), (2)", "INSERT INTO lake.lab.b VALUES (3)", "COMMIT"]);
    let counts = || ["lake.lab.a", "lake.lab.b"].map(|table| count(&server, table));
    assert_eq!(counts(), [json!(2), json!(1)]);

    // Another connection changes one of the tables before the commit: the other one stays as it was too.
    let lost = ["BEGIN", "INSERT INTO lake.lab.a VALUES (4)", "INSERT INTO lake.lab.b VALUES (5)", "COMMIT"];
    let error = duckdb_with(&server, ADMIN, &lost, &["INSERT INTO lake.lab.b VALUES (6)"]).unwrap_err();
    assert!(is_conflict(&error), "{error}");
    assert_eq!(counts(), [json!(2), json!(2)]);

    // Ours and its own.
    let note = format!("UPDATE {EVENTS} SET browser = 'Lynx' WHERE event = 'changed'");
    run(&server, &["BEGIN", &note, "INSERT INTO lake.lab.a VALUES (7)", "COMMIT"]);
    assert_eq!(counts(), [json!(3), json!(2)]);
    assert_eq!(server.count("hogflare_events where browser = 'Lynx'"), MARKED as u64);
}

#[test]
fn pyiceberg_stages_renames_and_registers_tables() {
    if skipped("clients") {
        return;
    }
    let server = server_with_rows();
    let ask = |mut request: Value| {
        request["admin"] = json!(ADMIN);
        pyiceberg(&server, request)
    };
    let staged = ask(json!({"op": "stage", "table": "staged", "rows": 5}));
    assert_eq!(staged["rows"], 5);
    assert_eq!(staged["early"], false, "the table was there before its transaction ended");
    assert_eq!(ask(json!({"op": "rename", "table": "staged", "to": "renamed"}))["rows"], 5);
    assert_eq!(ask(json!({"op": "reregister", "table": "renamed", "to": "registered"}))["rows"], 5);
    let tables = ask(json!({"op": "tables", "table": ""}));
    let ours =
        ["dead_letter", "events", "groups", "person_overrides", "persons"].map(|name| format!("hogflare_{name}"));
    let all: Vec<_> = ours.into_iter().chain(["registered".to_owned()]).collect();
    assert_eq!(tables, json!(all));
}

#[test]
fn iceberg_rust_creates_renames_and_registers_tables() {
    let server = server_with_rows();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(with_iceberg_rust(&server)).unwrap();
}

async fn with_iceberg_rust(server: &Server) -> Result<()> {
    let catalog = stock_client(server).await?;
    let space = NamespaceIdent::new("lab".to_owned());
    catalog.create_namespace(&space, HashMap::new()).await?;
    let field = NestedField::optional(1, "n", Type::Primitive(PrimitiveType::Int));
    let schema = Schema::builder().with_fields([Arc::new(field)]).build()?;
    let creation = TableCreation::builder().name("first".to_owned()).schema(schema).build();
    let created = catalog.create_table(&space, creation).await?;
    let (first, second) =
        (TableIdent::new(space.clone(), "first".to_owned()), TableIdent::new(space.clone(), "second".to_owned()));
    catalog.rename_table(&first, &second).await?;
    assert!(!catalog.table_exists(&first).await? && catalog.table_exists(&second).await?);
    assert_eq!(catalog.load_table(&second).await?.metadata_location(), created.metadata_location());
    catalog.drop_table(&second).await?;
    let location = created.metadata_location().expect("a location").to_owned();
    let registered = catalog.register_table(&first, location).await?;
    assert_eq!(registered.metadata(), created.metadata());
    assert_eq!(catalog.list_tables(&space).await?, [first]);
    let ours = TableIdent::from_strs(["default", "hogflare_events"])?;
    let refused = catalog.rename_table(&ours, &second).await.unwrap_err().to_string();
    assert!(refused.contains("hogflare's own table"), "{refused}");
    Ok(())
}

/// iceberg-rust's own client, as an administrator.
pub(crate) async fn stock_client(server: &Server) -> Result<RestCatalog> {
    let properties = HashMap::from([
        ("uri".to_owned(), server.iceberg_url()),
        ("warehouse".to_owned(), "hogflare".to_owned()),
        ("token".to_owned(), ADMIN.to_owned()),
    ]);
    let builder = RestCatalogBuilder::default().with_storage_factory(Arc::new(LocalFsStorageFactory));
    Ok(builder.load("stock", properties).await?)
}
