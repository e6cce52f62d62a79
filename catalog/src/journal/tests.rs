use super::*;

fn committed(through: u64) -> CommittedRecord {
    CommittedRecord {
        slot: Slot::Main,
        table: Table::Events,
        table_uuid: uuid::Uuid::nil(),
        epoch: 1,
        through,
        snapshot_id: 7,
        sequence_number: 1,
        metadata_location: "file:///m.json".into(),
        at_ms: 0,
    }
}

fn seal(after: u64, through: u64) -> SealRecord {
    SealRecord {
        slot: Slot::Main,
        table: Table::Events,
        after,
        through,
        files: Vec::new(),
        columns: String::new(),
        received_us: 0,
        sealed_at_ms: 0,
    }
}

fn open_ranges(journal: &Journal) -> Vec<(u64, u64)> {
    journal.state(Slot::Main, Table::Events).seals.iter().map(|seal| (seal.after, seal.through)).collect()
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commits.journal");
    let mut journal = Journal::open(&path).unwrap();
    for (after, through) in [(0, 5), (5, 9), (9, 12)] {
        journal.sealed(seal(after, through)).unwrap();
    }
    journal.committed(committed(9)).unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(open_ranges(&journal), [(9, 12)]);
    assert_eq!(journal.state(Slot::Main, Table::Events).committed, Some(committed(9)));
}

#[test]
fn every_cut_keeps_the_records_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commits.journal");
    let mut journal = Journal::open(&path).unwrap();
    journal.sealed(seal(0, 5)).unwrap();
    let kept = fs::metadata(&path).unwrap().len() as usize;
    journal.sealed(seal(5, 9)).unwrap();
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    for cut in kept..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(open_ranges(&Journal::open(&path).unwrap()), [(0, 5)], "cut at {cut}");
    }
}

/// A write that failed in the middle, for example because the disk was full.
#[test]
fn a_torn_record_does_not_stay_before_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commits.journal");
    let mut journal = Journal::open(&path).unwrap();
    journal.sealed(seal(0, 5)).unwrap();
    let torn = encode(&Record::Seal(seal(5, 9)));
    journal.file.write_all(&torn[..torn.len() / 2]).unwrap();
    journal.dirty = true;
    journal.sealed(seal(5, 8)).unwrap();
    drop(journal);
    assert_eq!(open_ranges(&Journal::open(&path).unwrap()), [(0, 5), (5, 8)]);
}

#[test]
fn a_seal_behind_its_commit_is_forgotten() {
    let mut state = SlotState::default();
    state.apply(Record::Committed(committed(9)));
    state.apply(Record::Seal(seal(5, 9)));
    state.apply(Record::Seal(seal(9, 12)));
    assert_eq!(state.seals, [seal(9, 12)]);
}

#[test]
fn damage_before_intact_records_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commits.journal");
    let mut journal = Journal::open(&path).unwrap();
    journal.sealed(seal(0, 5)).unwrap();
    journal.sealed(seal(5, 9)).unwrap();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Journal::open(&path), Err(Error::Journal { .. })));
}
