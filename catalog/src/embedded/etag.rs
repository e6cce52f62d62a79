//! ETags of tables: a table's answer changes when its metadata file does, and with what is asked of it.

use uuid::Uuid;

/// Which snapshots an answer states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshots {
    All,
    /// Those that a branch or tag names.
    Refs,
}

/// A strong ETag with its quotes. Two files never have one location, so the hash of the location (SHA-1) does.
pub(super) fn etag(metadata_location: &str, snapshots: Snapshots) -> String {
    let mode = match snapshots {
        Snapshots::All => "all",
        Snapshots::Refs => "refs",
    };
    let name = format!("{mode} {metadata_location}");
    format!("\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).simple())
}

/// Whether an `If-None-Match` names the ETag (RFC 9110, 13.1.2: compared weakly).
pub(super) fn matches(if_none_match: &str, etag: &str) -> bool {
    let mut named = if_none_match.split(',').map(str::trim);
    named.any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_that_of_one_file_and_mode() {
        let all = etag("file:///w/t/metadata/00001-a.metadata.json", Snapshots::All);
        for (location, mode, same) in [
            ("file:///w/t/metadata/00001-a.metadata.json", Snapshots::All, true),
            ("file:///w/t/metadata/00001-a.metadata.json", Snapshots::Refs, false),
            ("file:///w/t/metadata/00002-b.metadata.json", Snapshots::All, false),
        ] {
            assert_eq!(etag(location, mode) == all, same, "{location} {mode:?}");
        }
        assert!(all.starts_with('"') && all.ends_with('"') && all.len() > 20);
    }

    #[test]
    fn if_none_match_may_name_several() {
        for (header, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(matches(header, "\"a\""), expected, "{header}");
        }
    }
}
