use std::io::Write;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;
use crate::testing::facts;

/// Its base64 holds `+` and `/`.
const EVENT: &str = r#"{"event":"é>>~~??","properties":{"token":"t","distinct_id":"u"}}"#;
const LIMIT: usize = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// How a request says what its body is.
#[derive(Default)]
struct Said<'a> {
    content_type: Option<&'a str>,
    content_encoding: Option<&'a str>,
    compression: Option<&'a str>,
    data: Option<&'a str>,
}

fn decoded(said: &Said<'_>, body: &[u8]) -> Result<Payload, Code> {
    let mut facts = facts();
    facts.headers.content_type = said.content_type.map(str::to_owned);
    facts.headers.content_encoding = said.content_encoding.map(str::to_owned);
    for (key, value) in [("compression", said.compression), ("data", said.data)] {
        facts.query.extend(value.map(|value| (key.to_owned(), value.to_owned())));
    }
    decode(&facts, Bytes::copy_from_slice(body), LIMIT).map_err(|refusal| refusal.code)
}

fn check(what: &str, said: Said<'_>, body: impl AsRef<[u8]>) {
    let payload = decoded(&said, body.as_ref()).unwrap_or_else(|code| panic!("{what}: {code:?}"));
    assert_eq!(payload.text, EVENT, "{what}");
}

#[test]
fn every_client_s_encoding_is_undone() {
    let text = Some("text/plain");
    let json = Some("application/json; charset=utf-8");
    let form = Some("application/x-www-form-urlencoded; charset=UTF-8");
    let encoded = base64(EVENT);
    assert!(encoded.contains('+') && encoded.contains('/'), "{encoded}");
    let packed = gzip(EVENT.as_bytes());

    check("posthog-js: gzip without a hint", Said { content_type: text, ..Said::default() }, &packed);
    check("posthog-js, older", Said { content_type: text, compression: Some("gzip-js"), ..Said::default() }, &packed);
    check("posthog-js: JSON", Said { content_type: json, ..Said::default() }, EVENT);
    check("node", Said { content_type: json, content_encoding: Some("gzip"), ..Said::default() }, &packed);
    check(
        "rs, go",
        Said { content_type: json, content_encoding: Some("gzip"), compression: Some("gzip"), ..Said::default() },
        &packed,
    );
    check("a proxy unpacked it", Said { content_encoding: Some("gzip"), ..Said::default() }, EVENT);
    check(
        "an unknown hint",
        Said { compression: Some("brotli-9"), content_encoding: Some("identity"), ..Said::default() },
        EVENT,
    );
    check("zlib", Said { content_encoding: Some("deflate"), ..Said::default() }, zlib(EVENT.as_bytes()));
    check(
        "deflate without its header",
        Said { content_encoding: Some("deflate"), ..Said::default() },
        raw_deflate(EVENT.as_bytes()),
    );
    // Node: zlib.brotliCompressSync of the event.
    let brotli = "CyCAeyJldmVudCI6IsOpPj5+fj8/IiwicHJvcGVydGllcyI6eyJ0b2tlbiI6InQiLCJkaXN0aW5jdF9pZCI6InUifX0D";
    let brotli = STANDARD.decode(brotli).unwrap();
    check("brotli", Said { content_encoding: Some("br"), ..Said::default() }, &brotli);
    check("brotli that a proxy unpacked", Said { content_encoding: Some("br"), ..Said::default() }, EVENT);
    let zstd = zstd::encode_all(EVENT.as_bytes(), 3).unwrap();
    check("zstd", Said { content_encoding: Some("zstd"), ..Said::default() }, &zstd);
    check("zstd without a hint", Said::default(), &zstd);

    let said = || Said { content_type: form, compression: Some("base64"), ..Said::default() };
    check("posthog-js: form", said(), format!("data={}", escaped(&encoded)));
    check("form with + unescaped", said(), format!("data={encoded}"));
    check(
        "form with more fields",
        said(),
        format!("ip=1&data={}&compression=base64&_=1795151896286", escaped(&encoded)),
    );
    check(
        "form without its type",
        Said { content_type: text, ..Said::default() },
        format!("data={}", escaped(&encoded)),
    );
    check("form of JSON", Said { content_type: form, ..Said::default() }, format!("data={}", escaped(EVENT)));
    check("form of base64 of gzip", said(), format!("data={}", escaped(&base64(&packed))));
    check("JSON that curl calls a form", Said { content_type: form, ..Said::default() }, EVENT);
    check("gzip that is called a form", Said { content_type: form, ..Said::default() }, &packed);

    check("base64 without a hint", Said::default(), format!("{encoded}\n"));
    check("base64 without padding, url-safe", Said::default(), URL_SAFE_NO_PAD.encode(EVENT));
    check("double base64", said(), format!("data={}", escaped(&base64(&encoded))));
    check("base64 in gzip", Said::default(), gzip(encoded.as_bytes()));
    check("GET: data in the query", Said { data: Some(&encoded), ..Said::default() }, "");
    check("GET with + unescaped", Said { data: Some(&encoded.replace('+', " ")), ..Said::default() }, "");
    check("GET: JSON", Said { data: Some(EVENT), ..Said::default() }, "");
    check("byte order mark", Said::default(), format!("\u{feff}{EVENT}"));
}

/// Written by `compressToBase64` of the Python package lzstring 1.0.4.
#[test]
fn lz64_is_undone() {
    let repeated = format!(
        r#"{{"event":"zażółć 日本","properties":{{"token":"t","distinct_id":"u","x":"{}","y":"{}"}}}}"#,
        "abcabcabcd".repeat(12),
        "a".repeat(28)
    );
    for (packed, text) in [
        (
            "N4IgpgbmB2AuIC4QEMQBoQAcBOB7TY2sAlmAM6Kiy4DWMiI8GAJsWSdAMawD6xzDAK4gAviKA===",
            r#"{"event":"a","properties":{"token":"t","distinct_id":"u"}}"#,
        ),
        (
            "N4IgpgbmB2AuIC4QC8CGgfQAM+CFAQ4IAAJBT00BpzEAGhAAcAnAe0rGtgEswBnRUWWgaxkRDwKAE2ZsW0AMawA+s2ECAruRAAPAagBGkrTu3Ddh/Ub2SD2k+dO6rlkzfvGLzs49cuHH/SoCeG1AGBQcEhISAAvuFAA=",
            repeated.as_str(),
        ),
        ("IZA=", "a"),
        ("Q===", ""),
    ] {
        assert_eq!(lzstring::decompress_base64(packed.as_bytes(), LIMIT).unwrap(), text.as_bytes());
        if text.len() > 1 {
            let said = Said { compression: Some("lz64"), ..Said::default() };
            assert_eq!(decoded(&said, format!("data={}", escaped(packed)).as_bytes()).unwrap().text, text);
        }
        for cut in 0..packed.trim_end_matches('=').len().saturating_sub(1) {
            let _ = lzstring::decompress_base64(&packed.as_bytes()[..cut], LIMIT);
            let mut changed = packed.as_bytes().to_vec();
            changed[cut] = if changed[cut] == b'x' { b'/' } else { b'x' };
            let _ = lzstring::decompress_base64(&changed, LIMIT);
        }
    }
    assert_eq!(lzstring::decompress_base64(b"N4Igpg", LIMIT).unwrap_err().code, Code::InvalidEncoding);
    assert_eq!(
        lzstring::decompress_base64("IZA=".as_bytes(), 0).map_err(|refusal| refusal.code),
        Err(Code::BodyTooLarge)
    );
}

#[test]
fn form_fields_are_kept() {
    let payload =
        decoded(&Said::default(), format!("data={}&_=1795151896286&ip=0", escaped(EVENT)).as_bytes()).unwrap();
    assert_eq!(payload.form.sent_at.as_deref(), Some("1795151896286"));
    assert_eq!(payload.form.ip.as_deref(), Some("0"));
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let packed = gzip(EVENT.as_bytes());
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    for (what, body, code) in [
        ("empty", Vec::new(), Code::EmptyBody),
        ("blank", b" \n".to_vec(), Code::EmptyBody),
        ("empty form", b"data=".to_vec(), Code::EmptyBody),
        ("cut gzip", packed[..packed.len() - 9].to_vec(), Code::InvalidEncoding),
        ("damaged gzip", damaged, Code::InvalidEncoding),
    ] {
        assert_eq!(decoded(&Said::default(), &body).unwrap_err(), code, "{what}");
    }
}

#[test]
fn a_bomb_is_cut_while_it_inflates() {
    let zeros = vec![b' '; 64 << 20];
    let bomb = gzip(&zeros);
    assert!(bomb.len() < 100_000);
    let nested = base64(&bomb);
    let zstd = zstd::encode_all(&*zeros, 3).unwrap();
    for body in [&bomb[..], nested.as_bytes(), &zstd] {
        assert_eq!(decoded(&Said::default(), body).unwrap_err(), Code::BodyTooLarge);
    }
    let deflated = Said { content_encoding: Some("deflate"), ..Said::default() };
    assert_eq!(decoded(&deflated, &zlib(&zeros)).unwrap_err(), Code::BodyTooLarge);
    // A stream without end would never return if it were read to its end.
    assert_eq!(inflate(std::io::repeat(b' '), 10, LIMIT).unwrap_err().code, Code::BodyTooLarge);
    // Not compressed, but over the limit all the same.
    assert_eq!(decoded(&Said::default(), &vec![b'{'; LIMIT + 1]).unwrap_err(), Code::BodyTooLarge);
    let fits = gzip(&vec![b'{'; LIMIT]);
    assert_eq!(decoded(&Said::default(), &fits).unwrap().text.len(), LIMIT);
}

#[test]
fn bytes_that_are_no_utf8_become_replacement_characters() {
    let payload = decoded(&Said::default(), b"{\"event\":\"a\xff\"}").unwrap();
    assert_eq!(payload.text, "{\"event\":\"a\u{fffd}\"}");
}
