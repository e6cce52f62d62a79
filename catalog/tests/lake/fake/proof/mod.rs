//! The fake does what it says.

use iceberg::spec::{MAIN_BRANCH, Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;
use serde_json::{Value, json};

use super::FakeLake;

mod catalog;
mod credentials;
mod faults;
mod limits;
mod storage;
mod tables;

const NAMESPACES: &str = "/catalog/v1/account-lake/namespaces";
const TABLES: &str = "/catalog/v1/account-lake/namespaces/default/tables";
const TABLE: &str = "/catalog/v1/account-lake/namespaces/default/tables/events";

/// Sends single requests with the right token or key, each on a connection of its own.
struct Sender {
    endpoint: String,
    http: reqwest::Client,
    authorization: Option<String>,
    headers: Vec<(&'static str, String)>,
}

impl Sender {
    fn new(fake: &FakeLake) -> Sender {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap();
        Sender { endpoint: fake.endpoint().to_owned(), http, authorization: None, headers: Vec::new() }
    }

    /// Sends another `Authorization`.
    fn authorized(mut self, authorization: &str) -> Sender {
        self.authorization = Some(authorization.to_owned());
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Sender {
        self.headers.push((name, value.to_owned()));
        self
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<reqwest::Response> {
        let usual = match path.starts_with("/catalog") {
            true => "Bearer catalog-token".to_owned(),
            false => signature("static-key"),
        };
        let authorization = self.authorization.clone().unwrap_or(usual);
        let url = format!("{}{path}", self.endpoint);
        let request = self.http.request(method.parse().unwrap(), url).header("authorization", authorization).body(body);
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value)).send().await
    }

    /// What the client hears, in short: status and name of the error, `lost`, `cut` or `garbage`.
    async fn hear(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> String {
        let Ok(answer) = self.send(method, path, body).await else { return "lost".to_owned() };
        let status = answer.status().as_u16();
        let Ok(body) = answer.bytes().await else { return format!("{status} cut") };
        let body = String::from_utf8_lossy(&body).into_owned();
        let error = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|body| body["error"]["type"].as_str().map(str::to_owned));
        if let Some(kind) = error {
            return format!("{status} {kind}");
        }
        match body.split_once("<Code>").and_then(|(_, after)| after.split_once("</Code>")) {
            Some((code, _)) => format!("{status} {code}"),
            None if body.starts_with("<html>") => format!("{status} garbage"),
            None if status >= 400 && !body.is_empty() => format!("{status} text"),
            None => status.to_string(),
        }
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body.to_string()).await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// The table `default.events` with an empty snapshot of a foreign writer.
    async fn create_events(&self, fake: &FakeLake) {
        assert_eq!(self.hear("POST", NAMESPACES, json!({"namespace": ["default"]}).to_string()).await, "200");
        assert_eq!(self.hear("POST", TABLES, creation("events").to_string()).await, "200");
        fake.disturb("default", "events", super::Fault::Foreign);
        fake.reset_counts();
    }
}

fn signature(key_id: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={key_id}/20260101/auto/s3/aws4_request, SignedHeaders=host, Signature=0")
}

fn creation(name: &str) -> Value {
    let fields = json!([
        {"id": 1, "name": "_writer", "type": "string", "required": false},
        {"id": 2, "name": "_position", "type": "long", "required": false}]);
    json!({"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": fields}, "properties": {"kept": "yes"}})
}

/// The post of a snapshot on top of the head that `metadata` shows, with the head's manifest list unless another is
/// given.
fn append(metadata: &TableMetadata, snapshot_id: i64, manifest_list: Option<&str>) -> String {
    let head = metadata.current_snapshot().expect("the table has a head");
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(Some(head.snapshot_id()))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(manifest_list.unwrap_or(head.manifest_list()))
        .with_summary(Summary { operation: Operation::Append, additional_properties: Default::default() })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
    let requirements = vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.to_owned(), snapshot_id: Some(head.snapshot_id()) },
    ];
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
        TableUpdate::SetProperties { updates: [("at".to_owned(), snapshot_id.to_string())].into() },
    ];
    serde_json::to_string(&CommitTableRequest { identifier: None, requirements, updates }).unwrap()
}

/// The post of one property.
fn set_property(name: &str, value: &str) -> String {
    json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {name: value}}]}).to_string()
}
