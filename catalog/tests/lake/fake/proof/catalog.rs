//! The catalog, driven by the stock client and by single requests.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::io::MemoryStorageFactory;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, CatalogBuilder, NamespaceIdent, TableCreation, TableIdent};
use iceberg_catalog_rest::{RestCatalog, RestCatalogBuilder};
use serde_json::json;

use super::super::{Client, FakeLake, FakeSettings, Fault, Profile, Step};
use super::{NAMESPACES, Sender, TABLE, TABLES, append, creation, set_property};

async fn stock(fake: &FakeLake, more: &[(&str, &str)]) -> RestCatalog {
    let (uri, warehouse) = (fake.catalog_uri(), "account_lake".to_owned());
    let mut properties = HashMap::from([("uri".to_owned(), uri), ("warehouse".to_owned(), warehouse)]);
    properties.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let builder = RestCatalogBuilder::default().with_storage_factory(Arc::new(MemoryStorageFactory));
    builder.load("fake", properties).await.unwrap()
}

fn events() -> TableCreation {
    let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([id.into()]).build().unwrap();
    TableCreation::builder().name("events".to_owned()).schema(schema).build()
}

#[tokio::test]
async fn a_stock_client_creates_changes_loads_and_drops() {
    for login in [[("token", "catalog-token")], [("credential", "client:client-secret")]] {
        let fake = FakeLake::start(FakeSettings::default());
        let catalog = stock(&fake, &login).await;
        let (namespace, ident) =
            (NamespaceIdent::new("default".to_owned()), TableIdent::from_strs(["default", "events"]));
        let ident = ident.unwrap();
        assert!(!catalog.namespace_exists(&namespace).await.unwrap());
        catalog.create_namespace(&namespace, HashMap::new()).await.unwrap();
        catalog.create_namespace(&namespace, HashMap::new()).await.unwrap_err();
        assert_eq!(catalog.list_namespaces(None).await.unwrap(), std::slice::from_ref(&namespace));
        let created = catalog.create_table(&namespace, events()).await.unwrap();
        assert_eq!(created.metadata().location(), format!("s3://lake/{}", created.metadata().uuid()));
        catalog.create_table(&namespace, events()).await.unwrap_err();

        let transaction = Transaction::new(&created);
        let changing = transaction.update_table_properties().set("color".to_owned(), "blue".to_owned());
        changing.apply(transaction).unwrap().commit(&catalog).await.unwrap();
        let loaded = catalog.load_table(&ident).await.unwrap();
        assert_eq!(loaded.metadata().properties().get("color").map(String::as_str), Some("blue"));
        assert_eq!(loaded.metadata().metadata_log().len(), 1);
        assert_eq!(*loaded.metadata(), fake.table("default", "events"));

        // Both metadata files are in the storage, written by the catalog and not by the client.
        let files: Vec<String> = fake.objects().into_keys().collect();
        let folder = format!("{}/metadata", loaded.metadata().uuid());
        assert!(files[0].starts_with(&format!("{folder}/00000-")), "{files:?}");
        assert!(files[1].starts_with(&format!("{folder}/00001-")), "{files:?}");
        assert_eq!(fake.counts().of(Client::Catalog, Step::Put).requests, 2);
        assert_eq!(fake.counts().requests(Step::Put), 0);
        assert_eq!(fake.counts().requests(Step::Commit), 1);
        assert_eq!(fake.counts().requests(Step::Token), usize::from(login[0].0 == "credential"));

        assert_eq!(catalog.list_tables(&namespace).await.unwrap(), std::slice::from_ref(&ident));
        assert!(catalog.table_exists(&ident).await.unwrap());
        catalog.drop_table(&ident).await.unwrap();
        assert!(!catalog.table_exists(&ident).await.unwrap());
    }
}

#[tokio::test]
async fn statuses_and_error_names_are_those_of_r2() {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    let head = fake.table("default", "events");
    let config = "/catalog/v1/config";
    let stage = |name: &str| {
        let mut creation = creation(name);
        creation["stage-create"] = json!(true);
        creation.to_string()
    };
    let placed = |location: &str| {
        let mut creation = creation("placed");
        creation["location"] = json!(location);
        creation.to_string()
    };
    let stranger = json!({"updates": [], "requirements":
        [{"type": "assert-table-uuid", "uuid": "00000000-0000-4000-8000-000000000000"}]});
    let unknown = json!({"updates": [{"action": "no-such-action"}], "requirements": []});
    let moved = json!({"updates": [{"action": "set-location", "location": "s3://lake/other"}], "requirements": []});
    let created = json!({"updates": [], "requirements": [{"type": "assert-create"}]});
    for (method, path, body, heard) in [
        ("GET", format!("{config}?warehouse=account_lake"), String::new(), "200"),
        ("GET", format!("{config}?warehouse=other"), String::new(), "404 NoSuchWarehouseException"),
        ("GET", config.to_owned(), String::new(), "400 BadRequestException"),
        ("GET", "/catalog/v1/namespaces".to_owned(), String::new(), "404 NotFoundException"),
        ("GET", "/catalog/v1/other/namespaces".to_owned(), String::new(), "404 NotFoundException"),
        ("POST", "/catalog/v1/account-lake/transactions/commit".to_owned(), String::new(), "404 NotFoundException"),
        ("POST", NAMESPACES.to_owned(), json!({"namespace": ["default"]}).to_string(), "409 AlreadyExistsException"),
        ("HEAD", format!("{NAMESPACES}/default"), String::new(), "204"),
        ("GET", format!("{NAMESPACES}/nothing"), String::new(), "404 NoSuchNamespaceException"),
        ("POST", format!("{NAMESPACES}/nothing/tables"), creation("a").to_string(), "404 NoSuchNamespaceException"),
        ("POST", TABLES.to_owned(), creation("events").to_string(), "409 AlreadyExistsException"),
        ("POST", TABLES.to_owned(), placed("s3://elsewhere/a"), "400 BadRequestException"),
        ("POST", TABLES.to_owned(), placed(head.location()), "400 BadRequestException"),
        ("POST", TABLES.to_owned(), stage("staged"), "200"),
        ("GET", format!("{TABLES}/staged"), String::new(), "404 NoSuchTableException"),
        ("POST", format!("{TABLES}/staged"), created.to_string(), "200"),
        ("POST", format!("{TABLES}/staged"), created.to_string(), "400 ConcurrentUpdateError"),
        ("GET", format!("{TABLES}/staged"), String::new(), "200"),
        ("POST", TABLE.to_owned(), stranger.to_string(), "400 ConcurrentUpdateError"),
        ("POST", TABLE.to_owned(), unknown.to_string(), "400 BadRequestException"),
        ("POST", TABLE.to_owned(), moved.to_string(), "400 BadRequestException"),
        ("POST", TABLE.to_owned(), set_property("write.data.path", "a"), "409 FailedToSetProperties"),
        ("POST", TABLE.to_owned(), set_property("write.metadata.path", "a"), "409 FailedToSetProperties"),
        ("POST", TABLE.to_owned(), set_property("cloudflare-data-catalog.a", "a"), "409 FailedToSetProperties"),
        ("POST", TABLE.to_owned(), set_property("write.metadata.previous-versions-max", "1"), "200"),
        ("POST", TABLE.to_owned(), append(&head, 7, None), "200"),
        ("POST", TABLE.to_owned(), append(&head, 8, None), "400 ConcurrentUpdateError"),
        ("POST", format!("{TABLES}/other"), set_property("a", "a"), "404 NoSuchTableException"),
        ("GET", format!("{TABLES}/other/credentials"), String::new(), "404 NoSuchTableException"),
        ("DELETE", format!("{TABLES}/staged"), String::new(), "204"),
        ("DELETE", format!("{TABLES}/staged"), String::new(), "404 NoSuchTableException"),
    ] {
        assert_eq!(sender.hear(method, &path, body.clone()).await, heard, "{method} {path} {body}");
    }
    let table = fake.table("default", "events");
    assert_eq!(table.current_snapshot_id(), Some(7));
    assert_eq!(table.properties()["at"], "7");
    // On the right head, but with the id of a snapshot that the table has.
    assert_eq!(sender.hear("POST", TABLE, append(&table, 7, None)).await, "400 BadRequestException");
}

#[tokio::test]
async fn the_profile_of_the_spec_has_its_own_names_and_no_limits() {
    let fake = FakeLake::start(FakeSettings { profile: Profile::Spec, ..FakeSettings::default() });
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    let head = fake.table("default", "events");
    assert_eq!(sender.hear("POST", TABLE, append(&head, 7, None)).await, "200");
    assert_eq!(sender.hear("POST", TABLE, append(&head, 8, None)).await, "409 CommitFailedException");
    assert_eq!(sender.hear("POST", TABLE, set_property("write.data.path", "a")).await, "200");
    for round in 0..30 {
        assert_eq!(sender.hear("POST", TABLE, set_property("round", &round.to_string())).await, "200");
    }
}

#[tokio::test]
async fn old_metadata_files_go_where_the_table_asks_for_it() {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    let files = || fake.objects().keys().filter(|key| key.ends_with(".metadata.json")).count();
    sender.hear("POST", TABLE, set_property("write.metadata.previous-versions-max", "2")).await;
    sender.hear("POST", TABLE, set_property("a", "1")).await;
    assert_eq!(files(), 4);
    sender.hear("POST", TABLE, set_property("write.metadata.delete-after-commit.enabled", "true")).await;
    sender.hear("POST", TABLE, set_property("a", "2")).await;
    // The first one fell out of the log before files were to go with it, the second one now.
    assert_eq!(files(), 4);
    sender.hear("POST", TABLE, set_property("a", "3")).await;
    assert_eq!(files(), 4);
}

#[tokio::test]
async fn a_catalog_that_is_away_drops_requests_and_the_storage_stays() {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    fake.away(true);
    assert_eq!(sender.hear("GET", TABLE, "").await, "lost");
    assert_eq!(sender.hear("GET", "/lake/none", "").await, "404 NoSuchKey");
    fake.away(false);
    assert_eq!(sender.hear("GET", TABLE, "").await, "200");
}

#[tokio::test]
async fn tables_are_dropped_replaced_and_rolled_back_beside_the_clients() {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    let first = fake.table("default", "events");
    assert_eq!(sender.hear("POST", TABLE, append(&first, 7, None)).await, "200");
    fake.roll_back("default", "events", first.current_snapshot_id().unwrap());
    let table = fake.table("default", "events");
    assert_eq!(table.current_snapshot_id(), first.current_snapshot_id());
    assert_eq!(table.properties()["at"], "7");

    fake.replace_table("default", "events");
    let table = fake.table("default", "events");
    assert_ne!(table.uuid(), first.uuid());
    assert_eq!((table.snapshots().len(), table.properties().len()), (0, 0));
    assert_eq!(sender.hear("POST", TABLE, append(&first, 8, None)).await, "400 ConcurrentUpdateError");
    fake.disturb("default", "events", Fault::Foreign);
    fake.drop_table("default", "events");
    assert_eq!(sender.hear("GET", TABLE, "").await, "404 NoSuchTableException");
}
