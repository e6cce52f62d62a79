//! From the bytes of a body to its JSON text.
//!
//! SDKs disagree about how to say what they did: posthog-js sends gzip as `text/plain` without any
//! hint, proxies unpack bodies and leave the header. So hints only help where bytes are ambiguous, and
//! the bytes decide everywhere else. This is the only place that decompresses.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::{Code, Method, Refusal, RequestFacts, lzstring};

/// A body as text, and the form fields that came with it.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) text: String,
    pub(super) form: FormFields,
}

/// Fields of a form beside `data` and `compression`.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormFields {
    /// `_`: when it was sent, milliseconds since 1970.
    pub(crate) sent_at: Option<String>,
    pub(crate) ip: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Lz64,
    Deflate,
    Brotli,
    /// gzip, zstd and base64 show themselves.
    Sniff,
}

/// Wrappings of one body: a form around base64 around base64 around gzip needs three.
const UNWRAPS_MAX: usize = 4;
/// How much of a body is looked at to tell base64.
const BASE64_SAMPLE_BYTES: usize = 128;
/// RFC 8878
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Memory that a zstd frame may ask for, as a power of two: 8 MiB, what RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const BROTLI_BUFFER_BYTES: usize = 16 << 10;

pub(super) fn decode(facts: &RequestFacts, body: Bytes, decoded_bytes_max: usize) -> Result<Payload, Refusal> {
    let media_type = facts.headers.content_type.as_deref().unwrap_or_default();
    if media_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        let detail = "multipart bodies are not read; send JSON, AI events to /i/v0/ai/batch";
        return Err(Refusal::new(Code::UnsupportedMediaType, detail));
    }
    let (bytes, form, form_compression) = source(facts, body);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let detail = match facts.method {
            Method::Get => "the query holds no data",
            Method::Post => "the body is empty",
        };
        return Err(Refusal::new(Code::EmptyBody, detail));
    }
    let hint = [facts.query("compression"), form_compression.as_deref(), facts.headers.content_encoding.as_deref()];
    let hint = hint.into_iter().flatten().next().map_or(Hint::Sniff, Hint::named);
    let bytes = unwrap(bytes, hint, decoded_bytes_max)?;
    if bytes.len() > decoded_bytes_max {
        return Err(too_large(decoded_bytes_max));
    }
    // Bytes that are no UTF-8 become U+FFFD; JSON grammar is ASCII, so nothing else changes.
    let mut text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(Payload { text, form })
}

impl Hint {
    fn named(name: &str) -> Hint {
        match name.trim().to_ascii_lowercase().as_str() {
            "lz64" | "lz-string" => Hint::Lz64,
            "deflate" => Hint::Deflate,
            "br" => Hint::Brotli,
            _ => Hint::Sniff,
        }
    }
}

/// The payload before decompression: the query's `data`, a form's `data`, or the body.
fn source(facts: &RequestFacts, body: Bytes) -> (Vec<u8>, FormFields, Option<String>) {
    if let Some(data) = facts.query("data") {
        return (data.as_bytes().to_vec(), FormFields::default(), None);
    }
    let media_type = facts.headers.content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default();
    let named_form = media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
    // curl calls every body a form; JSON and gzip show that they are none.
    let first = body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let plain = matches!(first, Some(b'{' | b'[' | 0x1f | 0xef));
    if plain || !(named_form || body.starts_with(b"data=")) {
        return (Vec::from(body), FormFields::default(), None);
    }
    let field = |name: &str| form_field(&body, name);
    let text = |name: &str| field(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    let form = FormFields { sent_at: text("_"), ip: text("ip") };
    let compression = text("compression");
    match field("data") {
        Some(data) => (data, form, compression),
        None => (Vec::from(body), form, compression),
    }
}

fn form_field(body: &[u8], name: &str) -> Option<Vec<u8>> {
    let value = body.split(|byte| *byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })?;
    let spaced: Cow<'_, [u8]> = if value.contains(&b'+') {
        value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
    } else {
        Cow::Borrowed(value)
    };
    Some(percent_encoding::percent_decode(&spaced).collect())
}

fn unwrap(mut bytes: Vec<u8>, hint: Hint, decoded_bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    if hint == Hint::Lz64 && !is_json(&bytes) {
        return lzstring::decompress_base64(&bytes, decoded_bytes_max);
    }
    for _ in 0..UNWRAPS_MAX {
        if bytes.starts_with(&[0x1f, 0x8b, 0x08]) {
            bytes = inflate(GzDecoder::new(&*bytes), bytes.len(), decoded_bytes_max)?;
        } else if bytes.starts_with(&ZSTD_MAGIC) {
            bytes = unzstd(&bytes, decoded_bytes_max)?;
        } else if let Some(decoded) = unwrap_base64(&bytes) {
            bytes = decoded;
        } else {
            break;
        }
    }
    if is_json(&bytes) {
        return Ok(bytes);
    }
    if hint == Hint::Brotli {
        let decoder = brotli_decompressor::Decompressor::new(&*bytes, BROTLI_BUFFER_BYTES);
        bytes = inflate(decoder, bytes.len(), decoded_bytes_max)?;
    }
    if hint == Hint::Deflate {
        // The name means zlib (RFC 9110), but some senders leave its header out.
        bytes = if has_zlib_header(&bytes) {
            inflate(ZlibDecoder::new(&*bytes), bytes.len(), decoded_bytes_max)?
        } else {
            inflate(DeflateDecoder::new(&*bytes), bytes.len(), decoded_bytes_max)?
        };
    }
    Ok(bytes)
}

fn unzstd(bytes: &[u8], decoded_bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
    inflate(decoder, bytes.len(), decoded_bytes_max)
}

fn is_json(bytes: &[u8]) -> bool {
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
}

/// RFC 1950: method 8, and the first two bytes are a multiple of 31.
fn has_zlib_header(bytes: &[u8]) -> bool {
    matches!(bytes, [method, check, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *check]) % 31 == 0)
}

/// Inflates with a cap that holds while inflating: a bomb never takes more memory than a large body.
fn inflate(decoder: impl Read, compressed_bytes: usize, decoded_bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity((compressed_bytes * 6).min(decoded_bytes_max));
    let cap = u64::try_from(decoded_bytes_max).expect("sizes fit 64 bits") + 1;
    decoder.take(cap).read_to_end(&mut out).map_err(damaged)?;
    if out.len() > decoded_bytes_max {
        return Err(too_large(decoded_bytes_max));
    }
    Ok(out)
}

fn damaged(error: std::io::Error) -> Refusal {
    Refusal::new(Code::InvalidEncoding, format!("failed to decode request: the compressed body is damaged ({error})"))
}

pub(super) fn too_large(decoded_bytes_max: usize) -> Refusal {
    let detail = format!("the decompressed body is larger than {decoded_bytes_max} bytes");
    Refusal::new(Code::BodyTooLarge, detail)
}

/// Decodes what looks like base64; JSON never does, its first character is not of the alphabet.
/// Spaces were `+` before a form was decoded.
fn unwrap_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let bytes = bytes.trim_ascii();
    let url_safe = bytes.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let in_alphabet =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b' ');
    if bytes.is_empty() || !bytes.iter().take(BASE64_SAMPLE_BYTES).all(in_alphabet) {
        return None;
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if url_safe { &URL_SAFE } else { &STANDARD };
    let plus: Cow<'_, [u8]> = if bytes.contains(&b' ') {
        bytes.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect()
    } else {
        Cow::Borrowed(bytes)
    };
    GeneralPurpose::new(alphabet, config).decode(&plus).ok()
}

#[cfg(test)]
mod tests;
