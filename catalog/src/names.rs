//! Object names. A name is written at most once: it carries the incarnation of the process.

use uuid::Uuid;

use crate::tables::Slot;
use crate::writer_id::WriterId;

/// `data/<day column>=YYYY-MM-DD/<writer>-<slot>-<incarnation>-<after>-<through>-<n>.parquet`, as an
/// absolute location.
pub(crate) fn data_file(
    table_location: &str,
    partition_path: &str,
    writer: &WriterId,
    (slot, incarnation): (Slot, &str),
    (after, through): (u64, u64),
    ordinal: usize,
) -> String {
    let (writer, slot) = (writer.short(), slot.name());
    let folder = format!("{}/data/{partition_path}", table_location.trim_end_matches('/'));
    format!("{folder}/hf-{writer}-{slot}-{incarnation}-{after}-{through}-{ordinal}.parquet")
}

/// Whether a location has the form that [`data_file`] gives: a guest would have to choose it on purpose.
pub(crate) fn is_data_file_of_ours(location: &str) -> bool {
    let name = location.rsplit('/').next().unwrap_or_default();
    name.starts_with("hf-") && name.matches('-').count() == 6
}

pub(crate) fn manifest(table_location: &str, snapshot_id: i64, attempt: u32, incarnation: &str) -> String {
    let location = table_location.trim_end_matches('/');
    format!("{location}/metadata/{snapshot_id}-{incarnation}-m{attempt}.avro")
}

pub(crate) fn manifest_list(table_location: &str, snapshot_id: i64, attempt: u32, incarnation: &str) -> String {
    let location = table_location.trim_end_matches('/');
    format!("{location}/metadata/snap-{snapshot_id}-{incarnation}-{attempt}.avro")
}

/// The incarnation in the name of a manifest or manifest list of ours.
pub(crate) fn incarnation_of_metadata(location: &str) -> Option<&str> {
    let name = location.rsplit('/').next()?.strip_suffix(".avro")?;
    let mut parts = name.strip_prefix("snap-").unwrap_or(name).split('-');
    let (snapshot_id, incarnation, attempt) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = snapshot_id.parse::<i64>().is_ok() && incarnation.len() == 8 && parts.next().is_none();
    let counted = attempt.trim_start_matches('m').parse::<u32>().is_ok();
    (ours && counted).then_some(incarnation)
}

/// Eight random hexadecimal digits, drawn at each start.
pub(crate) fn incarnation() -> String {
    Uuid::new_v4().simple().to_string()[..8].to_owned()
}
