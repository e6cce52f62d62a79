//! The engine as the server uses it, over tables made by hand.

mod answers;
mod fixture;
mod guests;
mod instants;
mod limits;
mod reading;
