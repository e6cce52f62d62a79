//! The running server, from outside: its binary, its sockets, real clients.
//!
//! `cargo xtask test` installs the clients and builds the binary; run one module with
//! `cargo xtask test --only build --only test -- kill::`.
//! No test asserts a time; waits have a generous limit after which they fail.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod audit;
mod backends;
mod browser;
mod edge;
mod fixtures;
mod flags;
mod formats;
mod guests;
mod harness;
mod identity;
mod kill;
mod oracle;
mod samples;
mod sdk;
mod strace;
mod tidy;
mod travel;
mod values;
mod views;
