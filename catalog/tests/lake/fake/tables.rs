//! The catalog's memory: namespaces, tables, and what a commit does to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::{FormatVersion, MetadataLog, TableMetadata, TableMetadataBuildResult, TableMetadataBuilder};
use iceberg::{ErrorKind, NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use serde_json::json;
use uuid::Uuid;

use super::Profile;
use super::counts::Client;
use super::http::Response;
use super::state::State;
use super::vice::twist;

/// The only properties below `write.metadata` that R2 takes.
const METADATA_PROPERTIES: [&str; 3] = [
    "write.metadata.delete-after-commit.enabled",
    "write.metadata.previous-versions-max",
    "write.metadata.compression-codec",
];

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) namespaces: BTreeMap<NamespaceIdent, HashMap<String, String>>,
    pub(super) tables: BTreeMap<TableIdent, Stored>,
    /// Created by `stage-create` and not committed yet.
    staged: BTreeMap<TableIdent, TableMetadata>,
}

/// A table with the place of its metadata file; a staged table has none.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) metadata: Arc<TableMetadata>,
    pub(super) location: Option<String>,
}

/// An error of the protocol.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    kind: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, kind, message: message.into() }
    }

    pub(super) fn bad_request(message: impl ToString) -> Refusal {
        Refusal::new(400, "BadRequestException", message.to_string())
    }

    pub(super) fn no_table(ident: &TableIdent) -> Refusal {
        Refusal::new(404, "NoSuchTableException", format!("there is no table {ident}"))
    }

    pub(super) fn no_namespace(namespace: &NamespaceIdent) -> Refusal {
        let name = namespace.to_url_string();
        Refusal::new(404, "NoSuchNamespaceException", format!("there is no namespace {name}"))
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Response {
        let Refusal { status, kind, message } = refusal;
        Response::json(status, &json!({"error": {"message": message, "type": kind, "code": status}}))
    }
}

impl State {
    pub(super) fn stored(&self, ident: &TableIdent) -> Result<Stored, Refusal> {
        self.tables.tables.get(ident).cloned().ok_or_else(|| Refusal::no_table(ident))
    }

    pub(super) fn create_table(
        &mut self,
        namespace: &NamespaceIdent,
        request: CreateTableRequest,
    ) -> Result<Stored, Refusal> {
        let ident = TableIdent::new(namespace.clone(), request.name.clone());
        if !self.tables.namespaces.contains_key(namespace) {
            return Err(Refusal::no_namespace(namespace));
        }
        if self.tables.tables.contains_key(&ident) {
            return Err(Refusal::new(409, "AlreadyExistsException", format!("table {ident} exists")));
        }
        check_properties(self.settings.profile, request.properties.keys())?;
        let staged = request.stage_create == Some(true);
        let metadata = self.new_metadata(request)?;
        if staged {
            self.tables.staged.insert(ident, metadata.clone());
            return Ok(Stored { metadata: Arc::new(metadata), location: None });
        }
        Ok(self.store(&ident, metadata, None))
    }

    /// Applies a commit as a whole, or refuses it and changes nothing.
    pub(super) fn commit_table(
        &mut self,
        ident: &TableIdent,
        mut request: CommitTableRequest,
    ) -> Result<Stored, Refusal> {
        let profile = self.settings.profile;
        if let (Some(vice), Some(before)) = (self.settings.vice, self.tables.tables.get(ident)) {
            twist(vice, &mut request, &before.metadata);
        }
        check_updates(profile, &request.updates)?;
        let before = self.tables.tables.get(ident).cloned();
        let creates = request.requirements.contains(&TableRequirement::NotExist);
        if before.is_none() && !creates {
            return Err(Refusal::no_table(ident));
        }
        for requirement in &request.requirements {
            let metadata = before.as_ref().map(|stored| stored.metadata.as_ref());
            requirement.check(metadata).map_err(|error| refusal(profile, &error))?;
        }
        let built = match &before {
            Some(stored) => stored.metadata.as_ref().clone().into_builder(stored.location.clone()),
            None => self.tables.staged.get(ident).cloned().ok_or_else(|| Refusal::no_table(ident))?.into_builder(None),
        };
        let built = apply(built, request.updates).map_err(|error| refusal(profile, &error))?;
        self.tables.staged.remove(ident);
        self.forget_metadata(&built);
        Ok(self.store(ident, built.metadata, before.as_ref()))
    }

    /// A change that the catalog makes on nobody's request.
    pub(super) fn change_table(
        &mut self,
        ident: &TableIdent,
        change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
    ) {
        let before = self.tables.tables.get(ident).cloned().expect("the table is there");
        let builder = before.metadata.as_ref().clone().into_builder(before.location.clone());
        let built = change(builder).and_then(TableMetadataBuilder::build).expect("the change is valid");
        self.store(ident, built.metadata, Some(&before));
    }

    /// Writes the metadata file `<table>/metadata/<version>-<uuid>.metadata.json` and points the table at it.
    pub(super) fn store(&mut self, ident: &TableIdent, metadata: TableMetadata, before: Option<&Stored>) -> Stored {
        let before = before.and_then(|stored| stored.location.as_deref()).unwrap_or_default();
        let name = before.rsplit('/').next().unwrap_or_default();
        let version = name.split('-').next().and_then(|digits| digits.parse::<u64>().ok());
        let next = version.map_or(0, |version| version + 1);
        let location = format!("{}/metadata/{next:05}-{}.metadata.json", metadata.location(), Uuid::new_v4());
        let bytes = serde_json::to_vec(&metadata).expect("plain data");
        self.put_beside(Client::Catalog, &location, bytes);
        let stored = Stored { metadata: Arc::new(metadata), location: Some(location) };
        self.tables.tables.insert(ident.clone(), stored.clone());
        stored
    }

    /// `s3://<bucket>/<uuid>` unless the request names an empty place in the bucket.
    fn new_metadata(&self, request: CreateTableRequest) -> Result<TableMetadata, Refusal> {
        let (uuid, root) = (Uuid::new_v4(), format!("s3://{}/", self.settings.bucket));
        let location = request.location.unwrap_or_else(|| format!("{root}{uuid}"));
        let Some(prefix) = location.strip_prefix(&root).map(|place| format!("{}/", place.trim_end_matches('/'))) else {
            return Err(Refusal::bad_request(format!("location {location} is outside of {root}")));
        };
        if self.objects.keys(&prefix).next().is_some() {
            return Err(Refusal::bad_request(format!("location {location} is not empty")));
        }
        let mut properties = request.properties;
        let format_version = match properties.remove("format-version").as_deref() {
            None | Some("2") => FormatVersion::V2,
            Some("1") => FormatVersion::V1,
            Some("3") => FormatVersion::V3,
            Some(other) => return Err(Refusal::bad_request(format!("format version {other} is not supported"))),
        };
        let creation = TableCreation {
            name: request.name,
            location: Some(location),
            schema: request.schema,
            partition_spec: request.partition_spec,
            sort_order: request.write_order,
            properties,
            format_version,
        };
        let built = TableMetadataBuilder::from_table_creation(creation)
            .and_then(|builder| builder.assign_uuid(uuid).build())
            .map_err(Refusal::bad_request)?;
        Ok(built.metadata)
    }

    /// Deletes the metadata files that fell out of the table's log, where the table asks for that.
    fn forget_metadata(&mut self, built: &TableMetadataBuildResult) {
        let wanted = built.metadata.properties().get(METADATA_PROPERTIES[0]);
        if wanted.is_some_and(|wanted| wanted == "true") {
            for MetadataLog { metadata_file, .. } in &built.expired_metadata_logs {
                let key = self.key_of(metadata_file).to_owned();
                self.objects.remove(&key);
            }
        }
    }
}

fn apply(mut builder: TableMetadataBuilder, updates: Vec<TableUpdate>) -> iceberg::Result<TableMetadataBuildResult> {
    for update in updates {
        builder = update.apply(builder)?;
    }
    builder.build()
}

/// What R2 refuses whatever the table is.
fn check_updates(profile: Profile, updates: &[TableUpdate]) -> Result<(), Refusal> {
    for update in updates {
        match update {
            TableUpdate::SetProperties { updates } => check_properties(profile, updates.keys())?,
            TableUpdate::RemoveProperties { removals } => check_properties(profile, removals.iter())?,
            TableUpdate::SetLocation { .. } if profile == Profile::R2 => {
                return Err(Refusal::bad_request("the location of a table cannot change"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_properties<'a>(profile: Profile, mut names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    let is_forbidden = |name: &&String| {
        let metadata = name.starts_with("write.metadata") && !METADATA_PROPERTIES.contains(&name.as_str());
        metadata || name.starts_with("write.data.path") || name.starts_with("cloudflare-data-catalog.")
    };
    match names.find(is_forbidden) {
        Some(name) if profile == Profile::R2 => {
            Err(Refusal::new(409, "FailedToSetProperties", format!("property {name} cannot be set")))
        }
        _ => Ok(()),
    }
}

/// A failed requirement is a lost race; anything else is the client's mistake.
fn refusal(profile: Profile, error: &iceberg::Error) -> Refusal {
    match (error.kind(), profile) {
        (ErrorKind::CatalogCommitConflicts, Profile::R2) => {
            Refusal::new(400, "ConcurrentUpdateError", error.to_string())
        }
        (ErrorKind::CatalogCommitConflicts, Profile::Spec) => {
            Refusal::new(409, "CommitFailedException", error.to_string())
        }
        _ => Refusal::bad_request(error),
    }
}
