//! Answers that are shorter than everything: pages, 304, and snapshots of references only.

use hogflare_catalog::embedded::Access;
use serde_json::{Value, json};

use super::{TABLE, check, guest, load, make_tables, opened_with_rows, send, table_path};
use crate::harness::Opened;

fn pages(opened: &Opened, path: &str, list: &str, mut between: impl FnMut(usize)) -> Vec<String> {
    let mut names = Vec::new();
    let mut token = String::new();
    for page in 0.. {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (status, answer) =
            guest(opened, "GET", &format!("{path}{separator}pageToken={token}&pageSize=3"), &json!(null));
        assert_eq!(status, 200, "{answer}");
        let items = answer[list].as_array().unwrap();
        assert!(items.len() <= 3);
        let name = |item: &Value| item.get("name").unwrap_or(&item[0]).as_str().unwrap().to_owned();
        names.extend(items.iter().map(name));
        match answer["next-page-token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
        between(page);
    }
    names
}

#[tokio::test]
async fn pages_are_complete_while_tables_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    let stable: Vec<String> = (0..10).map(|number| format!("table{number}")).collect();
    make_tables(&opened, &stable.iter().map(String::as_str).collect::<Vec<_>>());
    let path = "/v1/namespaces/lab/tables";
    assert_eq!(pages(&opened, path, "identifiers", |_| ()), stable);
    // Between the pages a table is created before and behind, and the last one that was answered is dropped.
    let found = pages(&opened, path, "identifiers", |page| {
        make_tables(&opened, &[&format!("a{page}"), &format!("z{page}")]);
        let last = format!("table{}", page * 3 + 2);
        if page < 3 {
            check(&opened, ("DELETE", &table_path(&last)), json!(null), 204, None);
        }
    });
    let mut once = found.clone();
    once.dedup();
    assert_eq!(once, found, "no name twice");
    assert!(stable.iter().all(|name| found.contains(name)), "{found:?}");

    let (_, everything) = guest(&opened, "GET", path, &json!(null));
    assert!(everything["identifiers"].as_array().unwrap().len() > 10 && everything["next-page-token"].is_null());
    for bad in ["pageToken=&pageSize=0", "pageToken=&pageSize=x"] {
        check(&opened, ("GET", &format!("{path}?{bad}")), json!(null), 400, Some("BadRequestException"));
    }
    let (_, page) = guest(&opened, "GET", &format!("{path}?pageToken="), &json!(null));
    assert_eq!(page, everything, "all fit the default size");
}

#[tokio::test]
async fn namespaces_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    let names: Vec<String> = (0..7).map(|number| format!("space{number}")).collect();
    for name in &names {
        check(&opened, ("POST", "/v1/namespaces"), json!({"namespace": [name]}), 200, None);
        check(&opened, ("POST", "/v1/namespaces"), json!({"namespace": ["space0", name]}), 200, None);
    }
    let top: Vec<String> = [vec!["default".to_owned()], names.clone()].concat();
    assert_eq!(pages(&opened, "/v1/namespaces", "namespaces", |_| ()), top);
    let inner = pages(&opened, "/v1/namespaces?parent=space0", "namespaces", |_| ());
    assert_eq!(inner, vec!["space0"; 7], "the first level of each");
}

#[tokio::test]
async fn an_unchanged_table_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["mine"]);
    let path = table_path("mine");
    let get = |path: &str, known: Option<&str>| send(&opened, Access::Read, ("GET", path), known, &json!(null));
    let first = get(&path, None);
    let etag = first.etag.unwrap();
    let again = get(&path, Some(&etag));
    assert_eq!((again.status, again.body, again.etag.as_ref()), (304, None, Some(&etag)));
    let refs = get(&format!("{path}?snapshots=refs"), Some(&etag));
    assert_eq!(refs.status, 200, "another answer");
    assert_ne!(refs.etag.as_ref(), Some(&etag));

    let note = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"note": "x"}}]});
    let committed = send(&opened, Access::Write, ("POST", &path), None, &note);
    assert_ne!(committed.etag.as_ref(), Some(&etag));
    let now = get(&path, Some(&etag));
    assert_eq!((now.status, &now.etag), (200, &committed.etag));
    assert_eq!(get(&path, committed.etag.as_deref()).status, 304);
    let location = load(&opened, "mine")["metadata-location"].clone();
    check(&opened, ("DELETE", &path), json!(null), 204, None);
    assert_eq!(get(&path, committed.etag.as_deref()).status, 404);
    let body = json!({"name": "mine", "metadata-location": location});
    let registered = send(&opened, Access::Write, ("POST", "/v1/namespaces/lab/register"), None, &body);
    assert_eq!(registered.etag, committed.etag);
}

#[tokio::test]
async fn snapshots_of_references_are_those_with_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = opened_with_rows(folder.path()).await;
    opened.append(1, 20_000);
    opened.lake.finish().await.unwrap();
    let ids = |mode: &str| {
        let (status, answer) = guest(&opened, "GET", &format!("{TABLE}?snapshots={mode}"), &json!(null));
        assert_eq!(status, 200, "{answer}");
        let snapshots = answer["metadata"]["snapshots"].as_array().unwrap();
        let mut ids: Vec<(i64, i64)> = snapshots
            .iter()
            .map(|snapshot| (snapshot["sequence-number"].as_i64().unwrap(), snapshot["snapshot-id"].as_i64().unwrap()))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    let all = ids("all");
    assert_eq!(all.len(), 3);
    assert_eq!(ids("refs"), all[2..]);
    let tag = json!([{"action": "set-snapshot-ref", "ref-name": "first", "type": "tag", "snapshot-id": all[0]}]);
    assert_eq!(guest(&opened, "POST", TABLE, &json!({"requirements": [], "updates": tag})).0, 200);
    assert_eq!(ids("refs"), [all[0], all[2]]);
    check(&opened, ("GET", &format!("{TABLE}?snapshots=some")), json!(null), 400, Some("BadRequestException"));
}
