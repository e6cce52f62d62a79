//! Who did it: persons, groups, and the state that is known of them.
//!
//! [`rules`] and [`groups`] decide, over what is known, what an event changes; the writer asks for each
//! event in turn ([`Identity::resolve`]), puts the rows of the changes into the event's own frame, and
//! [keeps](Identity::keep) them. When the frame is durable, the changes go to [`applier`], which brings
//! them into the state file ([`store`]). Until then they are pending in memory ([`known`]), and so is what
//! was looked up lately. The file is a copy: [`redo`] makes it anew from rows of the log or the tables.

mod applier;
mod automatic;
mod cache;
mod changes;
mod event;
mod groups;
mod ids;
mod illegal;
mod known;
mod person;
mod properties;
mod reader;
mod rebuild;
mod redo;
mod rules;
mod state;
mod store;

use std::sync::Arc;

use rusqlite::ErrorCode;
use uuid::Uuid;

pub(crate) use applier::AppliedGroup;
pub use applier::StateWriter;
pub(crate) use automatic::Automatic;
pub(crate) use changes::{ChangeRows, Changes, Link, PersonChange, TypeChange, WarningReason};
pub use event::IdentityEvent;
pub(crate) use event::{Act, ActKind, AutomaticValues, GroupKeys, GroupUpdate, Operation};
pub use groups::{ConfiguredTypes, GroupTypes};
pub(crate) use known::Missing;
pub use person::{Group, Person};
pub use rebuild::Rebuild;
pub(crate) use state::{Identity, Opening};
pub use state::{State, StateSettings};
pub(crate) use store::STATE_TABLES;
pub use store::StatePositions;

/// The copy of a person's or of groups' properties on an event; what is longer is cut.
pub(crate) const COPIED_BYTES_MAX: usize = 32 << 10;

/// Namespace of person ids: PostHog's own, so that its deterministic ids have the same form.
const PERSON_NAMESPACE: Uuid = Uuid::from_u128(0x932979b4_65c3_4424_8467_0b66ec27bc22);

/// Stands for a distinct id of a project wherever its person is looked up. It is also the id of a person
/// that begins with this distinct id: the same on every server.
pub(crate) fn key(project: &str, distinct_id: &str) -> Uuid {
    let name = [project, ":", distinct_id].concat();
    Uuid::new_v5(&PERSON_NAMESPACE, name.as_bytes())
}

/// Why the state cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot {doing}: {source}")]
    Sqlite { doing: &'static str, source: Arc<rusqlite::Error> },
    #[error("{0}")]
    Refused(String),
}

impl StateError {
    fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> StateError + Copy {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StateError::Refused(format!(
                "cannot {doing}: {error}. The file is damaged; make it anew from the tables: hogflare state rebuild"
            )),
            _ => StateError::Sqlite { doing, source: Arc::new(error) },
        }
    }
}
