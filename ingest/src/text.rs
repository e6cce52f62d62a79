//! The texts of one event in two allocations: its properties, and all else.
//!
//! Most columns repeat what stands in the properties, so they are kept as ranges of it.

/// A range of [`Texts`], or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextRef {
    /// The highest bit tells the side text from the properties.
    start: u32,
    length: u32,
}

const SIDE: u32 = 1 << 31;

impl TextRef {
    pub(crate) const NONE: TextRef = TextRef { start: 0, length: u32::MAX };

    pub(crate) fn in_properties(start: usize, length: usize) -> TextRef {
        TextRef::new(start, length, 0)
    }

    fn new(start: usize, length: usize, side: u32) -> TextRef {
        let narrow = |number: usize| u32::try_from(number).expect("an event is far below 2 GiB");
        TextRef { start: narrow(start) | side, length: narrow(length) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Texts {
    properties: String,
    side: String,
}

impl Texts {
    /// `properties` is the text of a JSON object.
    pub(crate) fn new(properties: String) -> Texts {
        Texts { properties, side: String::new() }
    }

    pub(crate) fn properties(&self) -> &str {
        &self.properties
    }

    pub(crate) fn bytes(&self) -> usize {
        self.properties.len() + self.side.len()
    }

    pub(crate) fn get(&self, text: TextRef) -> Option<&str> {
        if text == TextRef::NONE {
            return None;
        }
        let (start, length) = ((text.start & !SIDE) as usize, text.length as usize);
        let of = if text.start & SIDE == 0 { &self.properties } else { &self.side };
        Some(&of[start..start + length])
    }

    /// Keeps a text that does not stand in the properties.
    pub(crate) fn push(&mut self, text: &str) -> TextRef {
        let start = self.side.len();
        self.side.push_str(text);
        TextRef::new(start, text.len(), SIDE)
    }

    /// Adds `"key":value` pairs, separated by commas, to the properties, which must not have these keys,
    /// and says where they start. What was there stays where it is, so ranges of it stay true.
    pub(crate) fn splice_members(&mut self, members: &str) -> usize {
        self.properties.reserve(members.len() + 1);
        open(&mut self.properties);
        let start = self.properties.len();
        self.properties.push_str(members);
        self.properties.push('}');
        start
    }
}

/// Adds a key before the closing brace of an object.
pub(crate) fn splice(object: &mut String, key: &str, value: &str) {
    open(object);
    object.push('"');
    object.push_str(key);
    object.push_str("\":");
    object.push_str(value);
    object.push('}');
}

/// Takes the closing brace away, so that a key can follow.
fn open(object: &mut String) {
    let closing = object.pop();
    assert_eq!(closing, Some('}'), "properties are an object");
    let is_empty = object.trim_end() == "{";
    if !is_empty {
        object.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_added_before_the_closing_brace() {
        for (object, expected) in [
            ("{}", r#"{"k":1}"#),
            ("{ \n}", "{ \n\"k\":1}"),
            (r#"{"a":{}}"#, r#"{"a":{},"k":1}"#),
            (r#"{"a":"{" }"#, r#"{"a":"{" ,"k":1}"#),
        ] {
            let mut text = object.to_owned();
            splice(&mut text, "k", "1");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn ranges_survive_what_is_added() {
        let mut texts = Texts::new(r#"{"a":"bc"}"#.to_owned());
        let in_properties = TextRef::in_properties(6, 2);
        let aside = texts.push("é");
        let empty = texts.push("");
        let start = texts.splice_members(r#""k":"v","l":1"#);
        assert_eq!(&texts.properties()[start..], r#""k":"v","l":1}"#);
        assert_eq!(texts.get(in_properties), Some("bc"));
        assert_eq!(texts.get(aside), Some("é"));
        assert_eq!(texts.get(empty), Some(""));
        assert_eq!(texts.get(TextRef::NONE), None);
    }
}
