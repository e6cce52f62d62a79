//! Versions as PostHog's SDKs compare them: three numbers, pre-release and build data ignored.

/// Major, minor, patch.
pub(super) type Version = [u128; 3];

/// Reads `v1.2.3-rc.1+build`; missing numbers are 0, further ones are ignored.
pub(super) fn parse(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches(['v', 'V']);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut version = [0; 3];
    for (index, part) in core.split('.').enumerate() {
        if index == 0 && part.is_empty() {
            return None;
        }
        if let Some(slot) = version.get_mut(index)
            && !part.is_empty()
        {
            *slot = number(part)?;
        }
    }
    Some(version)
}

/// Versions from the first one up to, but without, the second one.
pub(super) type Range = [Version; 2];

/// `~1.2.3`: the same minor version.
pub(super) fn tilde(text: &str) -> Option<Range> {
    let lower @ [major, minor, _] = parse(text)?;
    Some([lower, [major, minor.saturating_add(1), 0]])
}

/// `^1.2.3`: the first number that is not 0 stays.
pub(super) fn caret(text: &str) -> Option<Range> {
    let lower @ [major, minor, patch] = parse(text)?;
    let upper = match lower {
        [0, 0, _] => [0, 0, patch.saturating_add(1)],
        [0, _, _] => [0, minor.saturating_add(1), 0],
        _ => [major.saturating_add(1), 0, 0],
    };
    Some([lower, upper])
}

/// `1.*`, `1.2.*`, and the same without the star. `*` is every version.
pub(super) fn wildcard(text: &str) -> Option<Range> {
    let text = text.trim().trim_start_matches(['v', 'V']);
    let mut parts: Vec<&str> = text.split('.').collect();
    while parts.last() == Some(&"*") {
        parts.pop();
    }
    let stars = text.contains('*');
    match parts[..] {
        [] if stars => Some([[0; 3], [u128::MAX; 3]]),
        [major] => number(major).map(|major| [[major, 0, 0], [major.saturating_add(1), 0, 0]]),
        [major, minor] => {
            let (major, minor) = (number(major)?, number(minor)?);
            Some([[major, minor, 0], [major, minor.saturating_add(1), 0]])
        }
        _ => None,
    }
}

fn number(part: &str) -> Option<u128> {
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // Beyond 38 digits all numbers are one: nobody counts so far.
    digits.then(|| part.parse().unwrap_or(u128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        for (text, expected) in [
            ("1.2.3", Some([1, 2, 3])),
            ("v1.2.3", Some([1, 2, 3])),
            (" V1.2 ", Some([1, 2, 0])),
            ("7", Some([7, 0, 0])),
            ("1.2.3-alpha.1+build.5", Some([1, 2, 3])),
            ("1.2.3+build-5", Some([1, 2, 3])),
            ("1.2.3.4", Some([1, 2, 3])),
            ("1..3", Some([1, 0, 3])),
            ("3.08", Some([3, 8, 0])),
            ("", None),
            ("v", None),
            (".1", None),
            ("-1", None),
            ("1.x", None),
            ("abc", None),
            ("1.2 .3", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse(&"9".repeat(60)), Some([u128::MAX, 0, 0]));
    }

    #[test]
    fn ranges_have_bounds() {
        type Read = fn(&str) -> Option<Range>;
        for (read, text, expected) in [
            (tilde as Read, "1.2.3", Some([[1, 2, 3], [1, 3, 0]])),
            (tilde, "1", Some([[1, 0, 0], [1, 1, 0]])),
            (tilde, "x", None),
            (caret, "1.2.3", Some([[1, 2, 3], [2, 0, 0]])),
            (caret, "0.2.3", Some([[0, 2, 3], [0, 3, 0]])),
            (caret, "0.0.3", Some([[0, 0, 3], [0, 0, 4]])),
            (caret, "", None),
            (wildcard, "1.*", Some([[1, 0, 0], [2, 0, 0]])),
            (wildcard, "v1.2.*", Some([[1, 2, 0], [1, 3, 0]])),
            (wildcard, "1.*.*", Some([[1, 0, 0], [2, 0, 0]])),
            (wildcard, "1", Some([[1, 0, 0], [2, 0, 0]])),
            (wildcard, "1.2", Some([[1, 2, 0], [1, 3, 0]])),
            (wildcard, "*", Some([[0; 3], [u128::MAX; 3]])),
            (wildcard, "", None),
            (wildcard, "1.*.3", None),
            (wildcard, "1.2.3", None),
            (wildcard, "1.2.3.*", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
