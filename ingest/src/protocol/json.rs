//! JSON read as spans of the received text: nothing is copied, no tree is built.
//!
//! The scanner checks all of the grammar (RFC 8259), so a span of it is JSON by construction and may be
//! stored as it is. Nesting is followed without recursion; how deep it went is reported, not limited.

use std::borrow::Cow;

/// A range of bytes of a scanned text. Texts are below 2 GiB ([`super::DecodeLimits`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
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

/// Why a text is not JSON, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct ScanError {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    deepest: usize,
    /// Closing brackets that [`Scanner::skip_container`] still expects; kept to reuse its memory.
    open: Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text: text.as_bytes(), at: 0, depth: 0, deepest: 0, open: Vec::new() }
    }

    /// The first byte of the next value, after white space.
    pub(crate) fn peek(&mut self) -> Result<u8, ScanError> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => return Ok(*other),
            }
        }
        Err(self.error("unexpected end"))
    }

    /// Passes over a value of any kind.
    pub(crate) fn value(&mut self) -> Result<Span, ScanError> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' | b'[' => self.skip_container()?,
            _ => self.scalar(first)?,
        }
        Ok(Span::new(start, self.at))
    }

    /// Enters an object; `member` gets each key and must pass over its value.
    pub(crate) fn object<E: From<ScanError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Span, bool) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.peek()?;
        let start = self.at;
        self.expect(b'{', "expected an object")?;
        self.enter();
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let (key, escaped) = self.key()?;
                member(self, key, escaped)?;
                if self.ends(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Span::new(start, self.at))
    }

    /// Enters an array; `element` must pass over each value.
    pub(crate) fn array<E: From<ScanError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.peek()?;
        self.expect(b'[', "expected an array")?;
        self.enter();
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                element(self)?;
                if self.ends(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(self.error("unexpected text after the end")),
        }
    }

    /// Starts to measure: [`Scanner::depth_below`] tells how deep values went since.
    pub(crate) fn mark_depth(&mut self) -> usize {
        self.deepest = self.depth;
        self.depth
    }

    pub(crate) fn depth_below(&self, mark: usize) -> usize {
        self.deepest - mark
    }

    fn enter(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    fn skip_container(&mut self) -> Result<(), ScanError> {
        self.open.clear();
        loop {
            let first = self.peek()?;
            match first {
                b'{' | b'[' => {
                    self.at += 1;
                    // In ASCII both closing brackets stand two after the opening ones.
                    let close = first + 2;
                    self.open.push(close);
                    self.deepest = self.deepest.max(self.depth + self.open.len());
                    if self.peek()? == close {
                        self.at += 1;
                        self.open.pop();
                    } else {
                        if first == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar(first)?,
            }
            loop {
                let Some(close) = self.open.last().copied() else { return Ok(()) };
                if !self.ends(close)? {
                    if close == b'}' {
                        self.key()?;
                    }
                    break;
                }
                self.open.pop();
            }
        }
    }

    /// After a value: true at the closing bracket, false at a comma.
    fn ends(&mut self, close: u8) -> Result<bool, ScanError> {
        let byte = self.peek()?;
        if byte != close && byte != b',' {
            return Err(self.error("expected a comma or the end of the object or array"));
        }
        self.at += 1;
        Ok(byte == close)
    }

    fn key(&mut self) -> Result<(Span, bool), ScanError> {
        if self.peek()? != b'"' {
            return Err(self.error("expected a key"));
        }
        let key = self.string()?;
        self.peek()?;
        self.expect(b':', "expected a colon")?;
        Ok(key)
    }

    fn scalar(&mut self, first: u8) -> Result<(), ScanError> {
        match first {
            b'"' => self.string().map(|_| ()),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.error("expected a value")),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    /// The text between the quotes, and whether it holds escapes.
    fn string(&mut self) -> Result<(Span, bool), ScanError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((Span::new(start, self.at - 1), escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("unexpected end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match code_unit(&self.text[self.at..]) {
                None => return Err(self.error("bad escape")),
                Some(0xd800..=0xdbff) => {
                    let low = code_unit(&self.text[self.at + 6..]);
                    if !matches!(low, Some(0xdc00..=0xdfff)) {
                        return Err(self.error("lone surrogate"));
                    }
                    self.at += 12;
                }
                Some(0xdc00..=0xdfff) => return Err(self.error("lone surrogate")),
                Some(_) => self.at += 6,
            },
            _ => return Err(self.error("bad escape")),
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ScanError> {
        if self.text.get(self.at) != Some(&byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    fn error(&self, what: &'static str) -> ScanError {
        ScanError { what, at: self.at }
    }
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

/// Number of leading bytes that are neither a quote, nor a backslash, nor a control character.
fn plain_prefix(text: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    // Eight bytes at a time: the expression has the high bit of each byte set that is special. It may
    // also mark bytes above a special one, never below, so the lowest mark is exact.
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = word ^ (LOW * u64::from(b'"'));
        let backslash = word ^ (LOW * u64::from(b'\\'));
        let special = (quote.wrapping_sub(LOW) & !quote)
            | (backslash.wrapping_sub(LOW) & !backslash)
            | (word.wrapping_sub(LOW * 0x20) & !word);
        let marks = special & HIGH;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    rest.map_or(text.len(), |offset| at + offset)
}

/// The number of a `\uXXXX` at the start of the text.
pub(super) fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | value as u16)
    })
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
