//! JSON values as spans of the received text: nothing is copied, no tree is built.

use std::borrow::Cow;

use super::scanner::{ScanError, Scanner, code_unit};

/// A range of bytes of a scanned text. Texts are below 2 GiB ([`super::DecodeLimits`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        let offset = |at: usize| u32::try_from(at).expect("scanned texts are below 4 GiB");
        Span { start: offset(start), end: offset(end) }
    }

    pub(crate) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// One `"key": value` of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Between the quotes, escapes as sent.
    pub(crate) key: Span,
    pub(crate) key_escaped: bool,
    pub(crate) value: Span,
}

/// The members of an object that is known to be JSON.
pub(crate) fn members(object: &str) -> Vec<Member> {
    let mut members = Vec::new();
    let scanned = Scanner::new(object).object(|scanner, key, key_escaped| {
        members.push(Member { key, key_escaped, value: scanner.value()? });
        Ok::<(), ScanError>(())
    });
    scanned.expect("the text was scanned as JSON before");
    members
}

/// Whether a text is a JSON object and nothing else.
pub(crate) fn is_object(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    let scanned = scanner.object(|scanner, _, _| scanner.value().map(drop));
    scanned.is_ok() && scanner.end().is_ok()
}

/// The text of a JSON string without its quotes. NUL becomes U+FFFD: no table and no engine takes it.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        rest = &rest[backslash..];
        let (character, length) = unescape_one(rest.as_bytes());
        out.push(if character == '\0' { char::REPLACEMENT_CHARACTER } else { character });
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn unescape_one(escape: &[u8]) -> (char, usize) {
    let simple = match escape[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let units = [code_unit(escape), escape.get(6..).and_then(code_unit)].into_iter().map_while(|unit| unit);
            let character = char::decode_utf16(units).next().and_then(Result::ok);
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            return (character, 6 * character.len_utf16());
        }
        other => char::from(other),
    };
    (simple, 2)
}

/// A value as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    pub(crate) fn at(text: &'a str, span: Span) -> Json<'a> {
        Json(span.of(text))
    }

    /// The text must have been scanned.
    pub(crate) fn scanned(text: &'a str) -> Json<'a> {
        Json(text)
    }

    pub(crate) fn raw(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(crate) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// As JavaScript takes it for a condition.
    pub(crate) fn is_truthy(self) -> bool {
        match self.as_number() {
            Some(number) => number != 0.0,
            None => !matches!(self.0, "null" | "false" | "\"\""),
        }
    }

    pub(crate) fn as_number(self) -> Option<f64> {
        if self.0.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
            self.0.parse().ok()
        } else {
            None
        }
    }

    /// The text of a string.
    pub(crate) fn as_text(self) -> Option<Cow<'a, str>> {
        Some(unescape(self.0.strip_prefix('"')?.strip_suffix('"')?))
    }

    /// A string's text; a number or boolean as it was sent; nothing for null, objects and arrays.
    pub(crate) fn scalar(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => self.as_text(),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    /// Any value but null as text: what PostHog makes of ids that are not strings.
    pub(crate) fn stringified(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => self.as_text(),
            b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }
}

/// Appends a string as JSON, with quotes.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
