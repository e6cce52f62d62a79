//! The lake over a remote catalog and a bucket, both faked.

mod check;
pub(crate) mod harness;
mod matrix;
mod odd;
mod owned;
mod protocol;
