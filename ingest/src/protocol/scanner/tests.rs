use super::*;

fn scan(text: &str) -> Result<usize, ScanError> {
    let mut scanner = Scanner::new(text);
    let mark = scanner.mark_depth();
    scanner.value()?;
    scanner.end()?;
    Ok(scanner.depth_below(mark))
}

/// serde_json is the oracle: both accept the same texts.
#[test]
fn accepts_exactly_json() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let texts = [
        "{}",
        "[]",
        "{ }",
        "[ ]",
        "0",
        "-0",
        "10",
        "01",
        "-",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "1e-",
        "--1",
        "+1",
        "true",
        "tru",
        "truex",
        "null",
        "nul",
        "\"\"",
        "\"a",
        "a",
        "",
        " ",
        "[1,2]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"b\":[{\"c\":{}}]}",
        "[}",
        "{]",
        "[[]",
        "[]]",
        "[] x",
        " [ 1 , { \"a\" : [ ] } ] ",
        "\"\\n\\t\\\"\\\\\\/\\b\\f\\r\"",
        "\"\\x\"",
        "\"\\u00e9\"",
        "\"\\u00g9\"",
        "\"\\u00\"",
        "\"\\\"",
        "\"\n\"",
        "\"\u{1f}aaaaaaaaaaa\"",
        "\"aaaaaaaaaaaa\u{1}\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83dxxxxxx\"",
        "\"żółć €𝄞 aaaaaaaaa\"",
        "\"\u{7f}\u{80}\"",
        "NaN",
        "[Infinity]",
        "'a'",
        "{\"a\":1}}",
        "\u{feff}{}",
        "\u{a0}1",
        &deep,
    ];
    for text in texts {
        let ours = scan(text).map_err(|_| ());
        let theirs = serde_json::from_str::<serde_json::Value>(text).map_err(|_| ());
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}");
    }
}

#[test]
fn a_cut_or_changed_text_never_panics() {
    let text = r#"{"a\n":[1.5e3,{"b":"\ud83d\ude00 żółć \\"},true,null,-0.1],"c":{"d":{}}}"#;
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        assert!(scan(&text[..end]).is_err(), "{}", &text[..end]);
    }
    for at in 0..text.len() {
        for byte in [b'"', b'\\', b'{', b']', b',', b'0', b'u', 0, b' '] {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = byte;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let oracle = serde_json::from_str::<serde_json::Value>(&changed);
            assert_eq!(scan(&changed).is_ok(), oracle.is_ok(), "{changed}");
        }
    }
}

#[test]
fn depth_is_measured_without_recursion() {
    for (text, depth) in [("1", 0), ("[]", 1), ("[[],[[]]]", 3), ("{\"a\":{\"b\":[1]}}", 3)] {
        assert_eq!(scan(text), Ok(depth), "{text}");
    }
    let levels = 1_000_000;
    let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(scan(&deep), Ok(levels));
}
