//! The edge: proxies in front, tokens, signatures, limits, cut connections.

mod assets;
mod enrichment;
mod front;
mod limits;
mod projects;
mod proxied;
mod retry;
mod signing;
mod tls;
mod tokens;
mod v1;
