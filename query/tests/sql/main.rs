//! The engine as the server uses it, over tables made by hand.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod answers;
mod audit;
mod fixture;
mod guests;
mod identity;
mod instants;
mod limits;
mod reading;
mod scoped;
mod travel;
