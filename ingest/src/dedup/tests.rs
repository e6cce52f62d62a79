use std::path::{Path, PathBuf};
use std::sync::Arc;

use hogflare_catalog::Slot;

use super::{Dedup, DedupSettings, Hash};
use crate::disk::Disk;
use crate::disk::model::{Faults, ModelDisk};
use crate::wal::LogError;
use crate::writer::tests::TestClock;

const FOLDER: &str = "/dedup";

fn open_with(disk: &ModelDisk, hash_key: [u8; 16], log_end: Option<u64>) -> Dedup {
    let settings = DedupSettings { folder: PathBuf::from(FOLDER), hash_key, generation_keys: 10 };
    Dedup::open(Arc::new(disk.clone()), Arc::new(TestClock::default()), settings, log_end).expect("opens")
}

fn open(disk: &ModelDisk) -> Dedup {
    open_with(disk, [1; 16], None)
}

fn insert(dedup: &mut Dedup, slot: Slot, keys: std::ops::Range<u64>) {
    keys.for_each(|key| dedup.insert(slot, key));
}

fn held(dedup: &Dedup) -> Vec<u64> {
    (0..1_000).filter(|key| dedup.contains(*key)).collect()
}

fn files(disk: &ModelDisk) -> Vec<String> {
    disk.list(Path::new(FOLDER)).expect("listed")
}

#[test]
fn keys_depend_on_every_field_and_the_hash_key() {
    let uuid = "0190a0c0-0000-7000-8000-000000000001";
    let of = |hash: &Hash, fields: [&str; 4]| hash.of(fields[0], fields[1], fields[2], fields[3]);
    let hash = Hash::new(&[1; 16]);
    let base = of(&hash, ["p", uuid, "e", "d"]);
    assert!(base.is_some());
    assert_eq!(base, of(&hash, ["p", uuid, "e", "d"]));
    let others =
        [["q", uuid, "e", "d"], ["p", &uuid.replace('1', "2"), "e", "d"], ["p", uuid, "f", "d"], ["p", uuid, "e", "x"]];
    for other in others.into_iter().chain([["p", uuid, "ed", ""], ["p", uuid, "", "ed"]]) {
        assert_ne!(of(&hash, other), base, "{other:?}");
    }
    assert_ne!(of(&Hash::new(&[2; 16]), ["p", uuid, "e", "d"]), base);
    for nil in ["", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(of(&hash, ["p", nil, "e", "d"]), None, "{nil:?}");
    }
}

#[test]
fn the_window_keeps_eight_generations_and_their_files() {
    let disk = ModelDisk::default();
    let mut dedup = open(&disk);
    insert(&mut dedup, Slot::Main, 1..81);
    dedup.write_through(100).expect("written");
    assert_eq!((dedup.keys(), files(&disk).len()), (80, 8));
    insert(&mut dedup, Slot::Main, 81..82);
    assert_eq!(held(&dedup), (11..82).collect::<Vec<_>>());
    dedup.write_through(200).expect("written");
    assert_eq!(files(&disk).len(), 8);
    let again = open(&disk);
    assert_eq!(held(&again), held(&dedup));
    assert_eq!(again.written_through(Slot::Main), 200);
}

#[test]
fn each_slot_has_its_own_window_and_lookups_ask_both() {
    let disk = ModelDisk::default();
    let mut dedup = open(&disk);
    insert(&mut dedup, Slot::Late, 500..505);
    insert(&mut dedup, Slot::Main, 1..201);
    assert_eq!(held(&dedup), (121..201).chain(500..505).collect::<Vec<_>>(), "one slot does not evict the other's");
    dedup.write_through(10).expect("written");
    assert_eq!(held(&open(&disk)), held(&dedup));
}

#[test]
fn a_generation_is_continued_after_a_restart() {
    let disk = ModelDisk::default();
    for round in 0..10 {
        let mut dedup = open(&disk);
        insert(&mut dedup, Slot::Main, round * 2 + 1..round * 2 + 3);
        dedup.write_through(round * 10 + 10).expect("written");
    }
    assert_eq!(files(&disk).len(), 2, "twenty keys fill two generations");
    assert_eq!(held(&open(&disk)), (1..21).collect::<Vec<_>>());
}

#[test]
fn keys_of_frames_that_were_lost_are_forgotten() {
    let disk = ModelDisk::default();
    let mut dedup = open(&disk);
    for (through, keys) in [(100, 1..4), (200, 4..7), (300, 7..10)] {
        insert(&mut dedup, Slot::Main, keys);
        dedup.write_through(through).expect("written");
    }
    assert_eq!(held(&open_with(&disk, [1; 16], Some(300))), (1..10).collect::<Vec<_>>());
    let shorter = open_with(&disk, [1; 16], Some(250));
    assert_eq!((held(&shorter), shorter.written_through(Slot::Main)), ((1..7).collect(), 200));
    assert_eq!(held(&open(&disk)), (1..7).collect::<Vec<_>>(), "the cut is kept");
}

#[test]
fn damaged_and_foreign_files_are_left_out() {
    let disk = ModelDisk::default();
    let mut dedup = open(&disk);
    for through in 1..4 {
        insert(&mut dedup, Slot::Main, through * 3..through * 3 + 3);
        dedup.write_through(through * 100).expect("written");
    }
    let name = files(&disk).pop().expect("a file");
    let path = Path::new(FOLDER).join(name);
    // Blocks of three keys begin at 32, 80 and 128.
    disk.damage(&path, |bytes| bytes[80 + 24] ^= 1);
    let again = open(&disk);
    assert_eq!((held(&again), again.written_through(Slot::Main)), ((3..6).collect(), 100));
    assert_eq!(held(&open_with(&disk, [2; 16], None)), [0; 0], "made under another key");
    let mut fresh = open_with(&disk, [2; 16], None);
    insert(&mut fresh, Slot::Main, 50..52);
    fresh.write_through(1_000).expect("written");
    assert_eq!(held(&open_with(&disk, [2; 16], None)), [50, 51]);
}

#[test]
fn a_full_disk_delays_the_keys() {
    let disk = ModelDisk::default();
    let mut dedup = open(&disk);
    insert(&mut dedup, Slot::Main, 1..25);
    disk.create(Path::new("/ballast"), 100).map(drop).expect("created");
    disk.set_faults(Faults { capacity_bytes: Some(10), ..Faults::default() });
    assert!(matches!(dedup.write_through(100), Err(LogError::Full(_))));
    disk.set_faults(Faults { fail_write: true, ..Faults::default() });
    assert!(matches!(dedup.write_through(100), Err(LogError::Io { .. })));
    assert_eq!(dedup.synced_through(), 0);
    dedup.write_through(100).expect("written");
    assert_eq!(held(&open(&disk)), (1..25).collect::<Vec<_>>());
}
