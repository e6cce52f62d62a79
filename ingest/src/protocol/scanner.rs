//! A scanner that checks all of the JSON grammar (RFC 8259) and copies nothing.
//!
//! What it passes over is JSON by construction and may be stored as it is. Nesting is followed without
//! recursion; how deep it went is reported, not limited.

use super::json::Span;

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

#[cfg(test)]
mod tests;
