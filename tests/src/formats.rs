//! Data folders of every on-disk format so far open, and every row in them gets to its table.

use std::path::Path;
use std::process::Command;

use uuid::Uuid;

use crate::harness::audit::{self, Occurrences};
use crate::harness::{Options, read_text, wait_for, workspace};

/// Each folder was left by `kill -9` while the catalog was away: rows in the log, sealed files of both
/// slots, dead letters, nothing in a table.
const FORMATS: [&str; 1] = ["format-1"];

#[test]
fn folders_of_earlier_formats_open() {
    for format in FORMATS {
        let fixture = format!("tests/fixtures/folders/{format}");
        let home = tempfile::tempdir().expect("a folder");
        unpack(&workspace().join(&fixture).join("folder.tar.gz"), home.path());
        stand_here(&home.path().join("data"));
        let server = Options::new().interval("300ms").start_in(home);
        let uuids: Vec<Uuid> = read_text(&format!("{fixture}/uuids.txt"))
            .lines()
            .map(|line| Uuid::parse_str(line).expect("a uuid"))
            .collect();
        Occurrences::ask(&server).assert_each_once(&uuids);
        assert_eq!(server.count("hogflare_events"), uuids.len() as u64, "{format}");
        assert_eq!(server.count("hogflare_events where event = 'sent' and browser = 'Firefox'"), uuids.len() as u64);
        assert_eq!(server.count("hogflare_dead_letter"), 4, "{format}");
        wait_for("the commits", || (server.committed_rows("hogflare_events") == uuids.len() as u64).then_some(()));
        audit::assert_positions_have_no_gap(&server);
        assert!(server.run(&["audit"]).status.success(), "{format}");
    }
}

fn unpack(archive: &Path, into: &Path) {
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into).status().expect("tar is there");
    assert!(unpacked.success(), "cannot unpack {}", archive.display());
}

/// A folder knows where it stands; this one was made elsewhere.
fn stand_here(folder: &Path) {
    let path = folder.join("hogflare.json");
    let text = std::fs::read_to_string(&path).expect("hogflare.json");
    let here = std::fs::canonicalize(folder).expect("the folder").display().to_string();
    std::fs::write(&path, text.replace("/srv/hogflare", &here)).expect("hogflare.json");
}
