//! The properties of an event as text. They are stored as sent; the few changes are made here.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::protocol::json::{self, Json, Member, Span};

/// A JSON object inside a text, with its keys.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    /// What the spans of the members count in.
    text: Cow<'a, str>,
    span: Span,
    members: Cow<'a, [Member]>,
}

impl<'a> Object<'a> {
    /// `members` are those of the object at `span`.
    pub(crate) fn within(text: &'a str, span: Span, members: &'a [Member]) -> Object<'a> {
        Object { text: Cow::Borrowed(text), span, members: Cow::Borrowed(members) }
    }

    /// The text is known to be an object.
    pub(crate) fn parse(text: impl Into<Cow<'a, str>>) -> Object<'a> {
        let text = text.into();
        let members = json::members(&text);
        let span = Span { start: 0, end: u32::try_from(text.len()).expect("an event is far below 4 GiB") };
        Object { text, span, members: Cow::Owned(members) }
    }

    pub(crate) fn raw(&self) -> &str {
        self.span.of(&self.text)
    }

    /// Keys as text and their values, in the order sent.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, Json<'_>)> {
        self.members.iter().map(|member| (self.key(member), Json::at(&self.text, member.value)))
    }

    /// The last value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<Json<'_>> {
        let member = self.members.iter().rev().find(|member| self.key(member) == name)?;
        Some(Json::at(&self.text, member.value))
    }

    /// Where a value of this object stands in its text.
    pub(crate) fn offset_of(&self, value: Json<'_>) -> usize {
        value.raw().as_ptr() as usize - self.raw().as_ptr() as usize
    }

    /// The same, or nothing for a value that stands elsewhere.
    pub(crate) fn place_of(&self, value: Json<'_>) -> Option<usize> {
        let own = self.raw().as_bytes().as_ptr_range();
        own.contains(&value.raw().as_ptr()).then(|| self.offset_of(value))
    }

    fn key(&self, member: &Member) -> Cow<'_, str> {
        let raw = member.key.of(&self.text);
        if member.key_escaped { json::unescape(raw) } else { Cow::Borrowed(raw) }
    }

    /// Whether a key occurs twice, so that readers of the JSON could disagree about its value.
    pub(crate) fn repeats_keys(&self) -> bool {
        // A bit for each key; only when two keys share one, keys are compared.
        let mut seen = [0u64; 64];
        let mut maybe = false;
        for member in self.members.iter() {
            let hash = hash(&self.key(member));
            let (word, bit) = (&mut seen[(hash >> 58) as usize], 1 << (hash >> 52 & 63));
            maybe |= *word & bit != 0;
            *word |= bit;
        }
        if !maybe {
            return false;
        }
        let mut keys: Vec<Cow<'_, str>> = self.members.iter().map(|member| self.key(member)).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// The object with each key once, at its first place with its last value; `changes` win, and the keys
    /// `removed` are left out.
    pub(crate) fn rewritten(&self, changes: &[(&str, Cow<'_, str>)], removed: &[&str]) -> Object<'static> {
        let mut merged = Merge::default();
        for (member, (key, value)) in self.members.iter().zip(self.entries()) {
            if removed.contains(&&*key) {
                continue;
            }
            merged.put(key, member.key.of(&self.text), value.raw());
        }
        for (key, value) in changes {
            merged.put(Cow::Borrowed(key), key, value);
        }
        Object::parse(merged.into_object())
    }
}

/// Mixes the length and up to 16 bytes from both ends: enough to tell property names apart.
fn hash(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let eight = |from: &[u8]| {
        let mut word = [0; 8];
        word[..from.len()].copy_from_slice(from);
        u64::from_le_bytes(word)
    };
    let ends = bytes.len().min(8);
    let mixed =
        eight(&bytes[..ends]) ^ eight(&bytes[bytes.len() - ends..]).rotate_left(29) ^ (bytes.len() as u64) << 17;
    let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Keys in the order of their first appearance with their last values.
#[derive(Debug, Default)]
struct Merge<'a> {
    places: HashMap<Cow<'a, str>, usize>,
    entries: Vec<(&'a str, &'a str)>,
}

impl<'a> Merge<'a> {
    /// `raw_key` is the key as it stands between the quotes.
    fn put(&mut self, key: Cow<'a, str>, raw_key: &'a str, value: &'a str) {
        let place = *self.places.entry(key).or_insert(self.entries.len());
        match self.entries.get_mut(place) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((raw_key, value)),
        }
    }

    fn into_object(self) -> String {
        let mut out = String::from("{");
        for (key, value) in self.entries {
            if out.len() > 1 {
                out.push(',');
            }
            out.push('"');
            out.push_str(key);
            out.push_str("\":");
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

/// `$set` or `$set_once` in both places: key by key, the top level of the event wins.
pub(crate) fn merge_objects(inner: Json<'_>, top: Json<'_>) -> String {
    let objects: Vec<Object<'_>> =
        [inner, top].into_iter().filter(|json| json.is_object()).map(|json| Object::parse(json.raw())).collect();
    let mut merged = Merge::default();
    for object in &objects {
        for (member, (key, value)) in object.members.iter().zip(object.entries()) {
            merged.put(key, member.key.of(&object.text), value.raw());
        }
    }
    merged.into_object()
}

/// `$unset` in both places: all names, as an array. An object's keys are the names.
pub(crate) fn merge_names(inner: Json<'_>, top: Json<'_>) -> String {
    let mut names: Vec<String> = Vec::new();
    for json in [inner, top] {
        let listed: Vec<String> = if json.is_object() {
            Object::parse(json.raw()).entries().map(|(key, _)| key.into_owned()).collect()
        } else {
            serde_json::from_str::<Vec<serde_json::Value>>(json.raw())
                .map(|list| list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
                .unwrap_or_default()
        };
        for name in listed {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    serde_json::to_string(&names).expect("a list of strings is JSON")
}

#[cfg(test)]
mod tests;
