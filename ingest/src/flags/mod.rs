//! Feature flags: the file that defines them, what they are for somebody, and what SDKs are told.
//!
//! Pure: no clock, no files, no network. [`FlagFile::parse`] reads and checks definitions once;
//! [`FlagSet::needs`] says what must be looked up, [`FlagSet::evaluate`] answers a [`Question`] with
//! [`Answers`], and [`body`] writes them in the shape that a client reads. [`FlagSet::definitions`] is for
//! the SDKs that evaluate flags themselves: what they find must be what we find.

mod answer;
mod cohort;
mod date;
mod definition;
mod definitions;
mod error;
mod evaluate;
mod file;
mod filter;
mod flag;
mod hash;
mod matcher;
mod order;
mod place;
mod question;
mod request;
mod semver;
mod set;
mod value;

pub use answer::{Answer, Answers, FlagsShape, Reason, body};
pub use definitions::Definitions;
pub use error::{FlagsError, RequestError};
pub use file::FlagFile;
pub use flag::Runtime;
pub use question::{Question, Selection};
pub use request::FlagsRequest;
pub use set::{FlagSet, Needs};

/// Types of groups that a project may have.
pub const GROUP_TYPES_MAX: usize = 5;
