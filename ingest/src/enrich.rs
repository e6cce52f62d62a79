//! What only the server knows about an event.

use crate::event::CapturedEvent;
use crate::protocol::RequestFacts;

/// Most that enrichment adds to the properties of an event; normalization leaves that room.
pub(crate) const ADDED_BYTES_MAX: usize = 1_024;

/// Adds `$ip`, unless the client sent one (also null) or asked for none by `ip=0`.
pub fn enrich(events: &mut [CapturedEvent], facts: &RequestFacts) {
    let Some(ip) = facts.peer_ip else { return };
    // An IPv4 client of a dual-stack socket is an IPv4 client.
    let ip = format!("\"{}\"", ip.to_canonical());
    for event in events.iter_mut().filter(|event| event.wants_ip) {
        event.texts.splice("$ip", &ip);
        event.wants_ip = false;
    }
}
