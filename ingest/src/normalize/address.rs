//! Where events name the address of their client, for projects that store none.

use std::borrow::Cow;

use crate::properties::Object;
use crate::protocol::json::{self, Member, Span};
use crate::protocol::shape::Item;

/// The property that stands for the client's own.
pub(super) const PROPERTY: &str = "$ip";
/// Objects in an event that may name it as well.
pub(super) const OBJECTS: [&str; 3] = ["$set", "$set_once", "context"];

/// Whether a key beside the properties names the address.
pub(super) fn is_top_level(key: &str) -> bool {
    matches!(key, "ip" | PROPERTY)
}

/// Whether a key of properties, or of an object in an event, names it.
pub(super) fn is_property(key: &str) -> bool {
    is_top_level(key) || key == "$initial_ip"
}

/// An object in its place, if it names an address.
pub(super) fn object_without(raw: &str) -> Option<String> {
    let object = Object::parse(raw);
    let named: Vec<String> = object.entries().map(|(key, _)| key.into_owned()).filter(|key| is_property(key)).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    (!named.is_empty()).then(|| object.rewritten(&[], &named).raw().to_owned())
}

/// The text of an item with null in the place of its addresses.
pub(super) fn without(item: Item<'_>) -> Cow<'_, str> {
    let mut spans = named(item.text, item.fields.unwrap_or_default(), is_top_level);
    spans.extend(named(item.text, item.properties, is_property));
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

/// Values of the members that name an address, also in the [`OBJECTS`] among them.
fn named(text: &str, members: &[Member], is_address: fn(&str) -> bool) -> Vec<Span> {
    let mut spans = Vec::new();
    for member in members {
        let key = json::unescape(member.key.of(text));
        let value = member.value.of(text);
        if is_address(&key) {
            spans.push(member.value);
        } else if OBJECTS.contains(&&*key) && value.starts_with('{') {
            let inner = json::members(value).into_iter();
            let inner = inner.filter(|inner| is_property(&json::unescape(inner.key.of(value))));
            let start = member.value.start;
            spans.extend(inner.map(|inner| Span { start: start + inner.value.start, end: start + inner.value.end }));
        }
    }
    spans
}
