//! What an event leaves for enrichment to add.

use super::draft::Draft;
use crate::enrich::{Wants, Whose};
use crate::promote::{Promotion, Special};
use crate::protocol::json::Json;

/// `refuses_ip`: the sender wants no address of its own stored, nor anything that it tells.
pub(super) fn wants(draft: &Draft<'_>, promotion: &Promotion<'_>, refuses_ip: bool) -> Wants {
    let own = promotion.own();
    let forgotten = draft.forgotten();
    let named = promotion.special(Special::Ip).or_else(|| draft.ip());
    let of = forgotten.unwrap_or_else(|| Whose::of_event(named.map(Json::as_text).as_ref().map(Option::as_deref)));
    if refuses_ip && of == Whose::Clients {
        return Wants::default();
    }
    let is_disabled = promotion.special(Special::GeoipDisable).is_some_and(Json::is_truthy);
    Wants {
        ip: named.is_none() && forgotten.is_none() && !refuses_ip,
        of,
        place: !own.place && !is_disabled,
        network: !own.network,
        // It names the request in Cloudflare's logs, which know the address.
        ray: !own.ray && forgotten.is_none() && of != Whose::Nobodys && !refuses_ip,
        colo: !own.colo && !refuses_ip,
    }
}
