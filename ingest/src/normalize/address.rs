//! Where events name the address of their client, for projects that store none.

use std::borrow::Cow;

use crate::protocol::json::{self, Member, Span};
use crate::protocol::shape::Item;

/// The property.
pub(super) const PROPERTY: &str = "$ip";

/// Whether a key beside the properties names the address.
pub(super) fn is_top_level(key: &str) -> bool {
    matches!(key, "ip" | PROPERTY)
}

/// The text of an item with null in the place of its addresses.
pub(super) fn without(item: Item<'_>) -> Cow<'_, str> {
    let named = |members: &[Member], is_address: fn(&str) -> bool| -> Vec<Span> {
        let key = |member: &Member| json::unescape(member.key.of(item.text)).into_owned();
        members.iter().filter(|member| is_address(&key(member))).map(|member| member.value).collect()
    };
    let mut spans = named(item.fields.unwrap_or_default(), is_top_level);
    spans.extend(named(item.properties, |key| key == PROPERTY));
    let raw = item.json.raw();
    if spans.is_empty() {
        return Cow::Borrowed(raw);
    }
    spans.sort_unstable_by_key(|span| span.start);
    let start = raw.as_ptr() as usize - item.text.as_ptr() as usize;
    let (mut out, mut done) = (String::with_capacity(raw.len()), start);
    for span in spans {
        out.push_str(&item.text[done..span.start as usize]);
        out.push_str("null");
        done = span.end as usize;
    }
    out.push_str(&item.text[done..start + raw.len()]);
    Cow::Owned(out)
}
