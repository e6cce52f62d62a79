//! Properties of a person or a group: a JSON object as text, and the operations on it.
//!
//! Values are kept as they were sent, so that no number loses digits.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::automatic::{Automatic, is_volatile};
use crate::protocol::json::{self, Json};

/// First those that `$set` gave, then those that only `$set_once` gave. No whitespace stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Properties {
    text: Box<str>,
    /// Number of keys from `$set`.
    set: usize,
    /// Which first values of automatic properties are there, by [`Automatic::bit`].
    initial: u64,
}

impl Default for Properties {
    fn default() -> Properties {
        Properties { text: Box::from("{}"), set: 0, initial: 0 }
    }
}

/// What an event wants of its person's properties. The texts are JSON.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Objects.
    pub(crate) set: Option<&'a str>,
    pub(crate) set_once: Option<&'a str>,
    /// An array of names.
    pub(crate) unset: Option<&'a str>,
    pub(crate) automatic: &'a [(Automatic, &'a str)],
    /// Changes of volatile properties alone are written too.
    pub(crate) always: bool,
}

impl Properties {
    /// The texts are JSON objects; a key in both is one of `set`.
    pub(crate) fn of(set: &str, set_once: &str) -> Properties {
        let mut draft = Draft::default();
        for (key, value) in members(Some(set)) {
            draft.put(key, value, false);
        }
        for (key, value) in members(Some(set_once)) {
            if !draft.has(&key) {
                draft.put(key, value, true);
            }
        }
        draft.finish()
    }

    /// Of what was stored: their text, and [`Properties::marks`].
    pub(crate) fn of_stored(text: &str, (set, initial): (usize, u64)) -> Properties {
        Properties { text: text.into(), set, initial }
    }

    /// What is known of the text without reading it: the number of keys from `$set`, and which first values of
    /// automatic properties are there.
    pub(crate) fn marks(&self) -> (usize, u64) {
        (self.set, self.initial)
    }

    /// A JSON object with all of them.
    pub(crate) fn as_json(&self) -> &str {
        &self.text
    }

    /// As values, key by key: what none can hold, such as a number beyond all limits, is the text that was sent.
    pub(crate) fn values(&self) -> Map<String, Value> {
        members(Some(&self.text)).map(|(key, raw)| (key.into_owned(), value_of(raw))).collect()
    }

    /// The objects of `$set` and of `$set_once`.
    pub(crate) fn parts(&self) -> (String, String) {
        let whole = || (*self.text).to_owned();
        let Some(last) = self.set.checked_sub(1) else { return ("{}".to_owned(), whole()) };
        let members = json::members(&self.text);
        if members.len() == self.set {
            return (whole(), "{}".to_owned());
        }
        // A comma and nothing else stands between two members.
        let end = members[last].value.end as usize;
        ([&self.text[..end], "}"].concat(), ["{", &self.text[end + 1..]].concat())
    }

    /// The properties after an event, or nothing if it changes none.
    pub(crate) fn changed(&self, wanted: &Wanted<'_>) -> Option<Properties> {
        let has_new_initial = wanted.automatic.iter().any(|(automatic, _)| self.initial & automatic.bit() == 0);
        let explicit = wanted.set.or(wanted.set_once).or(wanted.unset).is_some();
        if !explicit && !has_new_initial && !wanted.always {
            return None;
        }
        let mut draft = Draft::of(self);
        draft.apply(wanted).then(|| draft.finish())
    }

    /// These, and what only the other has.
    pub(crate) fn over(&self, other: &Properties) -> Properties {
        let mut draft = Draft::of(self);
        for (index, (key, value)) in members(Some(&other.text)).enumerate() {
            if !draft.has(&key) {
                draft.put(key, value, index >= other.set);
            }
        }
        draft.finish()
    }

    /// The object, or if it is longer than that, those of its keys that people ask for most, and a mark.
    pub(crate) fn copy_within(&self, bytes_max: usize) -> Cow<'_, str> {
        if self.text.len() <= bytes_max {
            return Cow::Borrowed(&self.text);
        }
        let mut short = String::from("{}");
        for (key, value) in members(Some(&self.text)) {
            let is_asked_for = ASKED_FOR.contains(&&*key) || Automatic::of(&key).is_some();
            if is_asked_for && value.len() <= COPIED_VALUE_BYTES_MAX && short.len() < bytes_max / 2 {
                push(&mut short, &key, value);
            }
        }
        push(&mut short, "$person_properties_truncated", "true");
        Cow::Owned(short)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Properties>() + self.text.len()
    }
}

/// Properties of a person that models and segments name.
const ASKED_FOR: [&str; 12] = [
    "email",
    "$email",
    "name",
    "$name",
    "username",
    "first_name",
    "last_name",
    "plan",
    "role",
    "company",
    "created_at",
    "locale",
];
const COPIED_VALUE_BYTES_MAX: usize = 1 << 10;

fn push(object: &mut String, key: &str, value: &str) {
    let mut quoted = String::with_capacity(key.len() + 2);
    json::push_string(&mut quoted, key);
    crate::text::splice(object, &quoted[1..quoted.len() - 1], value);
}

/// Properties under change.
#[derive(Debug, Default)]
struct Draft<'a> {
    entries: Vec<Entry<'a>>,
    places: HashMap<Cow<'a, str>, usize>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    /// None if it was removed.
    value: Option<&'a str>,
    once: bool,
}

impl<'a> Draft<'a> {
    fn of(properties: &'a Properties) -> Draft<'a> {
        let mut draft = Draft::default();
        for (index, (key, value)) in members(Some(&properties.text)).enumerate() {
            draft.put(key, value, index >= properties.set);
        }
        draft
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries.get(*self.places.get(key)?).filter(|entry| entry.value.is_some())
    }

    fn put(&mut self, key: Cow<'a, str>, value: &'a str, once: bool) {
        match self.places.get(&key) {
            Some(place) => {
                let entry = &mut self.entries[*place];
                (entry.value, entry.once) = (Some(value), once);
            }
            None => {
                self.places.insert(key.clone(), self.entries.len());
                self.entries.push(Entry { key, value: Some(value), once });
            }
        }
    }

    /// `$set_once`, then `$set`, then `$unset`. Whether the person is to be written.
    fn apply(&mut self, wanted: &Wanted<'a>) -> bool {
        let mut written = false;
        for (key, value) in members(wanted.set_once) {
            if !self.has(&key) {
                self.put(key, value, true);
                written = true;
            }
        }
        let explicit: Vec<(Cow<'a, str>, &'a str)> = members(wanted.set).collect();
        for (automatic, value) in wanted.automatic {
            let initial = automatic.initial_name();
            if !self.has(&initial) {
                self.put(initial.into(), value, true);
                written = true;
            }
            let name = automatic.name();
            if !explicit.iter().any(|(key, _)| key == name) && self.set(name.into(), value) {
                written |= wanted.always;
            }
        }
        for (key, value) in explicit {
            let matters = wanted.always || !is_volatile(&key);
            written |= self.set(key, value) && matters;
        }
        for name in names(wanted.unset) {
            if let Some(place) = self.places.get(name.as_str()) {
                written |= self.entries[*place].value.take().is_some();
            }
        }
        written
    }

    /// Whether that changes anything.
    fn set(&mut self, key: Cow<'a, str>, value: &'a str) -> bool {
        if self.get(&key).is_some_and(|entry| entry.value == Some(value)) {
            return false;
        }
        self.put(key, value, false);
        true
    }

    fn finish(self) -> Properties {
        let kept = || self.entries.iter().filter_map(|entry| Some((entry, entry.value?)));
        let mut text = String::with_capacity(kept().map(|(entry, value)| entry.key.len() + value.len() + 4).sum());
        text.push('{');
        let mut write = |key: &str, value: &str| {
            if text.len() > 1 {
                text.push(',');
            }
            json::push_string(&mut text, key);
            text.push(':');
            text.push_str(value);
        };
        let (mut set, mut initial) = (0, 0);
        for once in [false, true] {
            for (entry, value) in kept().filter(|(entry, _)| entry.once == once) {
                set += usize::from(!once);
                initial |= Automatic::of_initial(&entry.key).map_or(0, Automatic::bit);
                write(&entry.key, value);
            }
        }
        text.push('}');
        Properties { text: text.into_boxed_str(), set, initial }
    }
}

/// Keys and values of a JSON object; of nothing none.
fn members(object: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let text = object.unwrap_or("{}");
    json::members(text).into_iter().map(move |member| {
        let raw = member.key.of(text);
        let key = if member.key_escaped { json::unescape(raw) } else { Cow::Borrowed(raw) };
        (key, Json::at(text, member.value).raw())
    })
}

fn value_of(raw: &str) -> Value {
    // serde_json is off by one in the last place at times.
    let is_float =
        raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && raw.contains(['.', 'e', 'E']);
    let exact = || Number::from_f64(raw.parse().ok()?).map(Value::Number);
    let parsed = if is_float { exact() } else { serde_json::from_str(raw).ok() };
    parsed.unwrap_or_else(|| Value::String(raw.to_owned()))
}

/// Names in a JSON array; an object's keys are names too.
fn names(unset: Option<&str>) -> Vec<String> {
    match unset {
        Some(object) if object.starts_with('{') => members(Some(object)).map(|(key, _)| key.into_owned()).collect(),
        Some(array) => serde_json::from_str::<Vec<serde_json::Value>>(array)
            .map(|list| list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
            .unwrap_or_default(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
