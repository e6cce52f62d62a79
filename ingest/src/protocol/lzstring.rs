//! LZString, the compression of posthog-js around 2020 (`compression=lz64`).
//!
//! A dictionary coder over UTF-16 units whose codes grow by a bit when the dictionary does. A base64
//! character carries six bits of the stream, its highest first; a code's lowest bit comes first.
//! The reference is `_decompress` of pieroxy/lz-string 1.5.

use super::encoding::too_large;
use super::{Code, Refusal};

/// Codes 0 and 1 announce a new unit of 8 or 16 bits.
const UNIT_BITS: [u32; 2] = [8, 16];
const END: u32 = 2;
/// The code of the first entry of the dictionary.
const FIRST_ENTRY: u32 = 3;

/// `LZString.decompressFromBase64`, as UTF-8.
pub(super) fn decompress_base64(text: &[u8], decoded_bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let units = decompress(&mut Bits { text: text.trim_ascii(), taken: 0 }, decoded_bytes_max)?;
    let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if text.len() > decoded_bytes_max { Err(too_large(decoded_bytes_max)) } else { Ok(text.into_bytes()) }
}

fn decompress(bits: &mut Bits<'_>, units_max: usize) -> Result<Vec<u16>, Refusal> {
    let mut out: Vec<u16> = Vec::new();
    // Each entry is a range of the output, because it is made of what was just written.
    let mut entries: Vec<Range> = Vec::new();
    let mut width = Width { bits: 3, entries_left: 4 };
    let mut previous = match bits.take(2)? {
        END => return Ok(out),
        code => {
            out.push(bits.new_unit(code)?.ok_or_else(damaged)?);
            Range { from: 0, length: 1 }
        }
    };
    entries.push(previous);
    loop {
        let code = bits.take(width.bits)?;
        if code == END {
            return Ok(out);
        }
        let from = out.len();
        if let Some(unit) = bits.new_unit(code)? {
            out.push(unit);
            entries.push(Range { from, length: 1 });
            width.count();
        } else {
            let entry = (code - FIRST_ENTRY) as usize;
            let range = match entries.get(entry) {
                Some(range) => *range,
                // The entry that this very step makes: the previous text and its own first unit.
                None if entry == entries.len() => previous.and_next(),
                None => return Err(damaged()),
            };
            if out.len() + range.length > units_max {
                return Err(too_large(units_max));
            }
            // One by one: the range may end in the unit written first here.
            for at in range.from..range.from + range.length {
                out.push(out[at]);
            }
        }
        entries.push(previous.and_next());
        width.count();
        previous = Range { from, length: out.len() - from };
    }
}

#[derive(Clone, Copy, Debug)]
struct Range {
    from: usize,
    length: usize,
}

impl Range {
    /// With the unit that was written after it.
    fn and_next(self) -> Range {
        Range { length: self.length + 1, ..self }
    }
}

/// Bits of a code, and how many entries may come until it takes one more.
#[derive(Debug)]
struct Width {
    bits: u32,
    entries_left: u32,
}

impl Width {
    fn count(&mut self) {
        self.entries_left -= 1;
        if self.entries_left == 0 {
            self.entries_left = 1 << self.bits;
            self.bits += 1;
        }
    }
}

#[derive(Debug)]
struct Bits<'a> {
    text: &'a [u8],
    /// Bits read so far.
    taken: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Result<u32, Refusal> {
        let mut value = 0;
        for place in 0..count {
            let sextet = self.text.get(self.taken / 6).and_then(|character| sextet(*character)).ok_or_else(damaged)?;
            let bit = u32::from(sextet >> (5 - self.taken % 6) & 1);
            value |= bit << place;
            self.taken += 1;
        }
        Ok(value)
    }

    /// The unit that follows a code that announces one.
    fn new_unit(&mut self, code: u32) -> Result<Option<u16>, Refusal> {
        let Some(bits) = UNIT_BITS.get(code as usize) else { return Ok(None) };
        Ok(Some(u16::try_from(self.take(*bits)?).expect("at most 16 bits were read")))
    }
}

/// Value of a base64 character; a space was `+` before a form was decoded.
fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' | b' ' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

fn damaged() -> Refusal {
    Refusal::new(Code::InvalidEncoding, "failed to decode request: the lz64 body is damaged")
}
