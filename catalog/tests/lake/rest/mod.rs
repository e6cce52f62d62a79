//! The REST protocol of the embedded catalog, and what a guest may not do.

mod concurrent;
mod ours;
mod pages;
mod routes;
mod staged;
mod transactions;

use bytes::Bytes;
use hogflare_catalog::embedded::{Access, RestRequest, RestResponse, rest};
use serde_json::{Value, json};

use crate::harness::{Opened, open};

const TABLE: &str = "/v1/namespaces/default/tables/hogflare_events";

/// As a guest who may write.
fn guest(opened: &Opened, method: &str, path: &str, body: &Value) -> (u16, Value) {
    ask(opened, Access::Write, method, path, body)
}

fn ask(opened: &Opened, access: Access, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = send(opened, access, (method, path), None, body);
    (answer.status, answer.body.map(|body| serde_json::from_slice(&body).unwrap()).unwrap_or_default())
}

fn send(
    opened: &Opened,
    access: Access,
    (method, path): (&str, &str),
    if_none_match: Option<&str>,
    body: &Value,
) -> RestResponse {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let request = RestRequest {
        method,
        path,
        query,
        if_none_match,
        wants_credentials: false,
        body: Bytes::from(body.to_string()),
    };
    rest(&request, &opened.catalog, access)
}

/// Asks as a guest and expects this status and this name of the error.
fn check(opened: &Opened, (method, path): (&str, &str), body: Value, status: u16, kind: Option<&str>) {
    let (answered, answer) = guest(opened, method, path, &body);
    assert_eq!(answered, status, "{method} {path} {body}: {answer}");
    assert_eq!(answer["error"]["type"].as_str(), kind, "{method} {path}");
    assert!(kind.is_none() || answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
}

async fn opened_with_rows(folder: &std::path::Path) -> Opened {
    let mut opened = open(folder, 1);
    opened.make_ready().await;
    for _ in 0..2 {
        opened.append(3, 20_000);
        opened.lake.finish().await.unwrap();
    }
    opened
}

/// Makes the namespace `lab` with these tables of guests.
fn make_tables(opened: &Opened, names: &[&str]) {
    let (status, answer) = guest(opened, "POST", "/v1/namespaces", &json!({"namespace": ["lab"]}));
    assert!([200, 409].contains(&status), "{answer}");
    for name in names {
        let (status, answer) = guest(opened, "POST", "/v1/namespaces/lab/tables", &creation(name));
        assert_eq!(status, 200, "{answer}");
    }
}

fn creation(name: &str) -> Value {
    json!({"name": name, "schema": schema(), "properties": {}})
}

fn schema() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "a", "type": "string", "required": false}]})
}

fn table_path(name: &str) -> String {
    format!("/v1/namespaces/lab/tables/{name}")
}

fn load(opened: &Opened, name: &str) -> Value {
    let (status, answer) = guest(opened, "GET", &table_path(name), &json!(null));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Names in a table's folder `metadata`.
fn metadata_files(opened: &Opened, name: &str) -> Vec<String> {
    let location = load(opened, name)["metadata"]["location"].as_str().unwrap().replace("file://", "");
    let entries = std::fs::read_dir(std::path::Path::new(&location).join("metadata")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
