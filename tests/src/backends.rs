//! The same promises over other catalogs and stores: SeaweedFS as S3 server and as an Iceberg REST
//! catalog of independent origin, and our own catalog in another process with its files on S3.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::audit;
use crate::harness::backend::{Remote, SeaweedFs, copy_folder};
use crate::harness::clients::{clickhouse, duckdb, pyiceberg_rows};
use crate::harness::{Options, PROJECT, Server, skipped, wait_for};

static SEAWEED: LazyLock<Arc<SeaweedFs>> = LazyLock::new(SeaweedFs::start);

/// A place for rows, with the server that keeps it, if that is one of ours.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) options: Box<dyn Fn(Options) -> Options>,
    pub(crate) namespace: String,
    _owner: Option<Server>,
}

impl Place {
    fn at(name: &'static str, remote: Remote, owner: Option<Server>) -> Place {
        let namespace = remote.namespace().to_owned();
        Place { name, options: Box::new(move |options| remote.options(options)), namespace, _owner: owner }
    }

    /// The data folder and our own catalog in the same process.
    pub(crate) fn own() -> Place {
        Place { name: "own", options: Box::new(|options| options), namespace: "default".to_owned(), _owner: None }
    }

    /// Tests that write tables of the same names need namespaces of their own.
    pub(crate) fn seaweed(namespace: &str) -> Place {
        Place::at("SeaweedFS", SEAWEED.catalog(namespace), None)
    }

    pub(crate) fn embedded_on_s3() -> Place {
        let options = |options| SEAWEED.files_of(options, "embedded");
        let namespace = "default".to_owned();
        Place { name: "embedded catalog, files on S3", options: Box::new(options), namespace, _owner: None }
    }

    pub(crate) fn our_catalog_on_s3() -> Place {
        let (owner, remote) = SEAWEED.under_our_catalog();
        Place::at("our catalog over HTTP, files on S3", remote, Some(owner))
    }
}

fn send(server: &Server, events: usize) -> Vec<Uuid> {
    let uuids: Vec<Uuid> = (0..events).map(|_| Uuid::now_v7()).collect();
    let event = |uuid: &Uuid| json!({"event": "sent", "distinct_id": "d", "uuid": uuid, "properties": {}});
    let batch: Vec<Value> = uuids.iter().map(event).collect();
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": batch}));
    uuids
}

fn wait_committed(server: &Server, rows: u64) {
    wait_for("the commit", || (server.committed_rows("hogflare_events") == rows).then_some(()));
}

/// PyIceberg, DuckDB and ClickHouse read what we commit; ClickHouse inserts after our commit; our queries
/// show its row, and our next commit goes on top.
fn engines_read_and_write(place: &Place) {
    let server = (place.options)(Options::new().interval("300ms").admin()).start();
    send(&server, 5);
    wait_committed(&server, 5);
    let table = format!("lake.{}.hogflare_events", place.namespace);
    let read = |expected: u64| {
        let rows = pyiceberg_rows(&server, "hogflare_events", &["uuid"], Value::Null);
        assert_eq!(rows.rows.len() as u64, expected, "PyIceberg over {}", place.name);
        let counted = duckdb(&server, server.read_token(), &[format!("select count(*) from {table}")]);
        assert_eq!(counted.unwrap()[0].rows, [[json!(expected)]], "DuckDB over {}", place.name);
        let in_clickhouse = format!("lake.`{}.hogflare_events`", place.namespace);
        let counted = clickhouse(&server, &[format!("SELECT count() FROM {in_clickhouse} WHERE event != ''")]);
        let counted = counted.unwrap_or_else(|error| panic!("ClickHouse over {}: {error}", place.name));
        assert_eq!(text(&counted[0][0][0]), expected.to_string(), "ClickHouse over {}", place.name);
    };
    read(5);
    let insert = format!(
        "INSERT INTO lake.`{}.hogflare_events` (uuid, source, event, distinct_id, timestamp, created_at, properties, \
         api_key) VALUES ('{}', 'clickhouse', 'inserted', 'd', now64(6), now64(6), '{{}}', 'phc_test')",
        place.namespace,
        Uuid::new_v4()
    );
    // A race against a commit of ours is lost now and then.
    wait_for("ClickHouse's insert", || match clickhouse(&server, std::slice::from_ref(&insert)) {
        Ok(_) => Some(()),
        Err(error) => {
            println!("ClickHouse over {}: {error}", place.name);
            None
        }
    });
    wait_for("the foreign row in our answers", || {
        (server.count("hogflare_events where event = 'inserted'") == 1).then_some(())
    });
    send(&server, 4);
    wait_committed(&server, 10);
    read(10);
    audit::assert_positions_have_no_gap(&server);
    let audited = server.run(&["audit"]);
    assert!(audited.status.success(), "{}", String::from_utf8_lossy(&audited.stdout));
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn engines_read_and_write_what_we_commit_to_seaweedfs() {
    if !skipped("clients") {
        engines_read_and_write(&Place::seaweed("default"));
    }
}

#[test]
fn engines_read_and_write_what_we_commit_through_our_catalog_to_s3() {
    if !skipped("clients") {
        engines_read_and_write(&Place::our_catalog_on_s3());
    }
}

#[test]
fn engines_read_and_write_what_the_embedded_catalog_keeps_on_s3() {
    if !skipped("clients") {
        engines_read_and_write(&Place::embedded_on_s3());
    }
}

#[test]
fn engines_read_and_write_what_the_embedded_catalog_keeps_here() {
    if !skipped("clients") {
        engines_read_and_write(&Place::own());
    }
}

/// A data folder is copied while its server runs, and the copy is started, too.
#[test]
fn of_a_copied_folder_one_is_fenced_and_loses_nothing() {
    if skipped("clients") {
        return;
    }
    let place = Place::seaweed("default");
    let options = || (place.options)(Options::new().interval("300ms").set("HOGFLARE_TABLE_PREFIX", "copied_"));
    let server = options().start();
    send(&server, 3);
    wait_for("the commit", || (server.committed_rows("copied_events") == 3).then_some(()));

    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(&server.data_dir(), &copy.path().join("data"));
    let identity = copy.path().join("data/hogflare.json");
    let text = std::fs::read_to_string(&identity).expect("hogflare.json");
    let here = std::fs::canonicalize(copy.path().join("data")).expect("the copy");
    // On another machine the copy stands at the same path.
    let text = text.replace(&server.data_dir().display().to_string(), &here.display().to_string());
    std::fs::write(&identity, text).expect("hogflare.json");
    let twin = options().start_in(copy);
    send(&twin, 2);
    wait_for("the copy's commit", || (twin.committed_rows("copied_events") == 5).then_some(()));

    let kept = send(&server, 4);
    wait_for("the fence", || server.log().contains("fenced").then_some(()));
    let ready = server.get("/readyz", &[]).text();
    assert!(ready.contains("fenced"), "{ready}");
    for uuid in kept {
        assert_eq!(server.count(&format!("copied_events where uuid = '{uuid}'")), 1, "acknowledged and shown");
    }
    assert_eq!(twin.count("copied_events"), 5, "the fenced one wrote nothing more");
}

/// The catalog is away at the start: events are taken, and queries say why they cannot be answered yet.
#[test]
fn a_catalog_that_is_away_at_the_start_holds_up_no_event() {
    let options = Options::new().interval("300ms").set("HOGFLARE_CATALOG_URI", "http://127.0.0.1:9/catalog");
    let server = Server::start_unready(options);
    send(&server, 3);
    let answer = server.sql_answer("select 1 from hogflare_events", &[]);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("not ready"), "{}", answer.text());
    let ready = server.get("/readyz", &[]).json();
    assert_eq!((&ready["ingest"]["ready"], &ready["query"]["ready"]), (&json!(true), &json!(false)), "{ready}");
}

#[test]
fn the_check_and_the_bill_are_printed() {
    if skipped("clients") {
        return;
    }
    let place = Place::seaweed("default");
    let server = (place.options)(Options::new().interval("300ms").set("HOGFLARE_TABLE_PREFIX", "bill_")).start();
    let checked = server.hogflare(&["catalog", "check"]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && text.contains("exactly once"), "{text}");
    // The same of the embedded catalog's bucket, while a server uses it.
    let embedded = (Place::embedded_on_s3().options)(Options::new()).start();
    let checked = embedded.hogflare(&["catalog", "check"]);
    let words = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && words.contains("exactly once"), "{words}");
    for commit in 1..=3 {
        send(&server, 1);
        wait_for("the commit", || (server.committed_rows("bill_events") == commit).then_some(()));
    }
    let bill = server.run(&["catalog", "bill"]);
    let text = String::from_utf8_lossy(&bill.stdout).into_owned();
    assert!(bill.status.success(), "{}", String::from_utf8_lossy(&bill.stderr));
    assert!(text.contains("1000") && text.contains("USD"), "{text}");
    println!("{text}");
}
