use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::testing::NOW_US;

const DAY_US: i64 = 86_400_000_000;
const TODAY: i64 = NOW_US / DAY_US;
const VISITOR: Visitor<'_> =
    Visitor { token: "t", ip: "192.0.2.1", user_agent: "Firefox", host: "shop.example.com", extra: "" };

fn id(salt: u8, day: i64, visitor: &Visitor<'_>) -> String {
    VisitorHash::new(&Salt([salt; 32]), day, visitor).distinct_id()
}

#[test]
fn every_part_tells_visitors_apart() {
    let same = [VISITOR, Visitor { host: "www.example.com", ..VISITOR }, Visitor { host: "EXAMPLE.com.", ..VISITOR }];
    let ids: HashSet<String> = same.iter().map(|visitor| id(1, TODAY, visitor)).collect();
    assert_eq!(ids.len(), 1, "sites of one owner share visitors");
    let others = [
        (1, TODAY, Visitor { token: "u", ..VISITOR }),
        (1, TODAY, Visitor { ip: "192.0.2.2", ..VISITOR }),
        (1, TODAY, Visitor { user_agent: "Safari", ..VISITOR }),
        (1, TODAY, Visitor { host: "example.org", ..VISITOR }),
        (1, TODAY, Visitor { extra: "x", ..VISITOR }),
        (1, TODAY, Visitor { ip: "", user_agent: "192.0.2.1Firefox", ..VISITOR }),
        (1, TODAY, Visitor { ip: "", user_agent: "", host: "", ..VISITOR }),
        (1, TODAY + 1, VISITOR),
        (2, TODAY, VISITOR),
    ];
    let all: HashSet<String> = others.iter().map(|(salt, day, visitor)| id(*salt, *day, visitor)).chain(ids).collect();
    assert_eq!(all.len(), others.len() + 1);
    assert!(all.iter().all(|id| id.starts_with("cookieless_") && id.len() == "cookieless_".len() + 22), "{all:?}");
}

#[test]
fn a_session_is_a_day() {
    let session = VisitorHash::new(&Salt([1; 32]), TODAY, &VISITOR).session_id();
    assert_eq!(session.get_version_num(), 7);
    assert_eq!(session.get_timestamp().map(|time| time.to_unix().0), Some((TODAY * 86_400) as u64));
    assert_ne!(session, VisitorHash::new(&Salt([1; 32]), TODAY + 1, &VISITOR).session_id());
    assert_ne!(session, VisitorHash::new(&Salt([1; 32]), TODAY, &Visitor { ip: "", ..VISITOR }).session_id());
}

#[test]
fn hosts_have_roots() {
    for (host, root) in [
        ("example.com", "example.com"),
        ("shop.example.com", "example.com"),
        ("a.b.Example.COM.", "example.com"),
        ("shop.example.com:8080", "example.com:8080"),
        ("https://user@shop.example.co.uk/path?q#f", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("www.example.de", "example.de"),
        ("localhost:3000", "localhost:3000"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ] {
        assert_eq!(root_host(host), root, "{host}");
    }
}

fn stored(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("cookieless-salts.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["salts"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn salts_outlive_the_process_and_not_their_days() {
    let folder = TempDir::new().unwrap();
    let salts = Salts::open(folder.path(), NOW_US).unwrap();
    assert_eq!(stored(folder.path()), ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21"]);
    let mode = fs::metadata(folder.path().join("cookieless-salts.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let today = salts.salt(TODAY);
    assert_eq!(Salts::open(folder.path(), NOW_US).unwrap().salt(TODAY), today);

    let of_days: HashSet<[u8; 32]> = (TODAY - 2..=TODAY + 1).map(|day| salts.salt(day).0).collect();
    assert_eq!(of_days.len(), 4);
    assert_eq!(salts.salt(TODAY - 9), salts.salt(TODAY - 2));
    assert_eq!(salts.salt(TODAY + 9), salts.salt(TODAY + 1));

    let tomorrow = salts.salt(TODAY + 1);
    salts.rotate(NOW_US + DAY_US).unwrap();
    assert_eq!(stored(folder.path()), ["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"]);
    assert_eq!((salts.salt(TODAY), salts.salt(TODAY + 1)), (today, tomorrow));
    salts.rotate(NOW_US + 3 * DAY_US).unwrap();
    let reopened = Salts::open(folder.path(), NOW_US + 3 * DAY_US).unwrap();
    for kept in [&salts, &reopened] {
        assert!((TODAY - 9..TODAY + 9).all(|day| kept.salt(day) != today), "its days are over");
    }
    // A week without the server.
    Salts::open(folder.path(), NOW_US + 10 * DAY_US).unwrap();
    assert_eq!(stored(folder.path()).first().map(String::as_str), Some("2026-11-28"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no salt is left in another file");
}

#[test]
fn a_file_that_cannot_be_replaced_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let salts = Salts::open(folder.path(), NOW_US).unwrap();
    let today = salts.salt(TODAY);
    let blocked = folder.path().join("cookieless-salts.tmp");
    fs::create_dir(&blocked).unwrap();
    let tomorrow = NOW_US + DAY_US;
    assert!(salts.rotate(tomorrow).unwrap_err().to_string().starts_with("cannot create "));
    assert_eq!(salts.salt(TODAY), today);
    assert!(salts.rotate(tomorrow).is_err());
    fs::remove_dir(&blocked).unwrap();
    salts.rotate(tomorrow).unwrap();
    assert_eq!(stored(folder.path()).last().map(String::as_str), Some("2026-11-22"));
    let drawn = salts.salt(TODAY + 2);
    assert_eq!(Salts::open(folder.path(), tomorrow).unwrap().salt(TODAY + 2), drawn);
}

#[test]
fn a_damaged_file_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let hex = "ab".repeat(32);
    for (text, expected) in [
        ("", "it is not JSON"),
        ("{}", "it states no format"),
        (r#"{"format":2,"salts":{}}"#, "has format 2"),
        (r#"{"format":1}"#, "it has no salts"),
        (r#"{"format":1,"salts":{"2026-11-20":"ab"}}"#, "a line is no day with a salt"),
        (r#"{"format":1,"salts":{"2026-11-20":7}}"#, "a line is no day with a salt"),
        (&format!(r#"{{"format":1,"salts":{{"yesterday":"{hex}"}}}}"#), "a line is no day with a salt"),
    ] {
        fs::write(folder.path().join("cookieless-salts.json"), text).unwrap();
        let error = Salts::open(folder.path(), NOW_US).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    fs::write(
        folder.path().join("cookieless-salts.json"),
        format!(r#"{{"format":1,"salts":{{"2026-11-20":"{hex}"}}}}"#),
    )
    .unwrap();
    assert_eq!(Salts::open(folder.path(), NOW_US).unwrap().salt(TODAY), Salt([0xab; 32]));
}

#[test]
fn salts_in_memory_stay_the_same() {
    let salts = Salts::default();
    assert_eq!(salts.salt(TODAY), salts.salt(TODAY + 1));
    assert_ne!(salts.salt(TODAY), Salts::default().salt(TODAY));
    assert!(!format!("{:?} {:?}", salts, salts.salt(TODAY)).contains('['));
}
