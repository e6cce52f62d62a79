//! What clients send that is nearly JSON: Python's `NaN`, halves of surrogate pairs.

use super::scanner::code_unit;

/// Replaces `NaN`, `Infinity` and their negatives outside strings by `null`, and lone surrogate
/// escapes inside them by `\ufffd`. Everything else stays, also what is no JSON.
pub(super) fn repair(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I']) {
        let (before, from) = rest.split_at(at);
        let word = ["NaN", "Infinity"].into_iter().find(|word| from.starts_with(word));
        let length = if from.starts_with('"') {
            out.push_str(before);
            repair_string(from, &mut out)
        } else if let Some(word) = word {
            out.push_str(before.strip_suffix('-').unwrap_or(before));
            out.push_str("null");
            word.len()
        } else {
            out.push_str(&rest[..=at]);
            1
        };
        rest = &from[length..];
    }
    out.push_str(rest);
    out
}

/// Copies the string that starts here; returns its length with the quotes.
fn repair_string(text: &str, out: &mut String) -> usize {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 1;
    while let Some(offset) = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        at += offset;
        if bytes[at] == b'"' {
            at += 1;
            out.push_str(&text[copied..at]);
            return at;
        }
        match code_unit(&bytes[at..]) {
            Some(0xd800..=0xdbff) if matches!(code_unit(&bytes[at + 6..]), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            _ => at += 2,
        }
        if at >= bytes.len() {
            break;
        }
    }
    // No closing quote: the scanner will say so.
    out.push_str(&text[copied..]);
    text.len()
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn nearly_json_becomes_json() {
        for (sent, repaired) in [
            (r#"{"a":NaN,"b":-Infinity,"c":[Infinity,-NaN]}"#, r#"{"a":null,"b":null,"c":[null,null]}"#),
            (r#"{"a":"NaN Infinity","N":"I"}"#, r#"{"a":"NaN Infinity","N":"I"}"#),
            (
                r#"["\ud83d x","\ude00","\ud83d\ude00","\ud83d\u0041"]"#,
                r#"["\ufffd x","\ufffd","\ud83d\ude00","\ufffd\u0041"]"#,
            ),
            (r#"["\\ud83d","\"NaN"]"#, r#"["\\ud83d","\"NaN"]"#),
            (r#"["open \ud83d"#, r#"["open \ufffd"#),
            (r#"["open \"#, r#"["open \"#),
            (r#"["é\"#, r#"["é\"#),
            (r#"["\é"]"#, r#"["\é"]"#),
            ("{\"a\":-5,\"b\":Null}", "{\"a\":-5,\"b\":Null}"),
        ] {
            assert_eq!(repair(sent), repaired);
        }
    }
}
