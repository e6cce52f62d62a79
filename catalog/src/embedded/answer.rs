//! Answers of the REST protocol as plain data.

use serde::Serialize;
use serde_json::json;

use crate::error::{Error, chain};

/// Status and body; no body for 204, 304 and for HEAD.
#[derive(Debug)]
pub struct RestResponse {
    pub status: u16,
    pub body: Option<Vec<u8>>,
    /// The header `ETag`, quotes included.
    pub etag: Option<String>,
}

/// An error in the protocol's error model.
#[derive(Debug)]
pub struct RestError {
    pub status: u16,
    /// The protocol's name of the error, such as `NoSuchTableException`.
    pub kind: &'static str,
    pub message: String,
}

impl RestResponse {
    pub(super) fn json(status: u16, body: &impl Serialize) -> RestResponse {
        let body = serde_json::to_vec(body).expect("answers are plain data");
        RestResponse { status, body: Some(body), etag: None }
    }

    pub(super) fn empty(status: u16) -> RestResponse {
        RestResponse { status, body: None, etag: None }
    }

    pub(super) fn with_etag(self, etag: String) -> RestResponse {
        RestResponse { etag: Some(etag), ..self }
    }
}

impl RestError {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> RestError {
        RestError { status, kind, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> RestError {
        RestError::new(400, "BadRequestException", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> RestError {
        RestError::new(409, "CommitFailedException", message)
    }

    pub(super) fn exists(message: impl Into<String>) -> RestError {
        RestError::new(409, "AlreadyExistsException", message)
    }

    pub(super) fn no_table(table: &iceberg::TableIdent) -> RestError {
        RestError::new(404, "NoSuchTableException", format!("table {table} does not exist"))
    }

    pub(super) fn no_namespace(namespace: &iceberg::NamespaceIdent) -> RestError {
        let name = namespace.as_ref().join(".");
        RestError::new(404, "NoSuchNamespaceException", format!("namespace {name} does not exist"))
    }
}

impl From<Error> for RestError {
    fn from(error: Error) -> RestError {
        tracing::error!(error = chain(&error), "the catalog failed");
        RestError::new(500, "InternalServerError", chain(&error))
    }
}

impl From<RestError> for RestResponse {
    fn from(error: RestError) -> RestResponse {
        let model = json!({"error": {"message": error.message, "type": error.kind, "code": error.status}});
        RestResponse::json(error.status, &model)
    }
}
