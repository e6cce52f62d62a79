//! The tables, and the only way rows enter them.

pub mod tables;
