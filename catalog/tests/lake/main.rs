//! The lake over the embedded catalog, in one process.

#![allow(clippy::unwrap_used, reason = "a test may end at the first surprise")]

mod commit;
mod fake;
mod faults;
mod harness;
mod remote;
mod rest;
mod rounds;
