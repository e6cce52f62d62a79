//! The edge: proxies in front, tokens, signatures, limits, cut connections.

mod limits;
mod nginx;
mod retry;
mod signing;
mod tokens;
