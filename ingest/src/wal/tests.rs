//! The bytes of the log: what is read is what was written, or nothing.

use std::path::Path;
use std::sync::Arc;

use super::log::{Log, LogSettings};
use super::retention::LogPositions;
use super::segment::{
    BadSegment, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader, called_durable, read_frame,
};
use super::{LogError, Positions, ReplayedGroup, find_end, replay};
use crate::disk::model::ModelDisk;
use crate::disk::{Disk, Durability, RealDisk, read_all};
use crate::writer::Batch;
use crate::writer::tests::{TestBatch, TestClock, test_writer};
use hogflare_catalog::frame::Part;
use hogflare_catalog::tables::{GroupBuilder, SLOTS, TABLES};
use hogflare_catalog::{Slot, Table};

const WRITER: [u8; 16] = [3; 16];

fn header() -> SegmentHeader {
    SegmentHeader {
        start_offset: 4_096,
        writer: WRITER,
        salt: *b"saltsalt",
        created_ms: 1_700_000_000_000,
        synced: true,
    }
}

fn frame(segment: &SegmentHeader, at: usize, durable_offset: u64, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: FrameKind::Group,
        body_len: body.len(),
        body_crc: crc32c::crc32c(body),
        offset: segment.start_offset + at as u64,
        durable_offset,
        group: 9,
    };
    [&header.encode(segment.salt)[..], body].concat()
}

#[test]
fn segment_headers_round_trip_and_notice_every_bit() {
    for synced in [true, false] {
        let header = SegmentHeader { synced, ..header() };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Err(BadSegment::Torn), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(SegmentHeader::decode(&bytes[..length]), Err(BadSegment::Torn), "length {length}");
        }
    }
}

#[test]
fn a_later_format_is_refused_in_words() {
    let mut bytes = header().encode();
    bytes[10] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegment::NewerVersion(2)));

    let disk = ModelDisk::default();
    let path = Path::new("/wal/00000000000000004096.log");
    disk.create(path, 0).and_then(|mut file| file.write_at(&bytes, 0)).expect("written");
    let error = find_end(&disk, Path::new("/wal"), WRITER).expect_err("refused");
    assert!(error.to_string().contains("later release"), "{error}");
}

#[test]
fn frames_round_trip_and_notice_every_bit() {
    let segment = header();
    let mut bytes = segment.encode().to_vec();
    bytes.extend(frame(&segment, 64, 4_160, b"sixteen bytes ok"));
    let (found, body) = read_frame(&segment, &bytes, 64).expect("intact");
    assert_eq!((body, found.group, found.end()), (&b"sixteen bytes ok"[..], 9, 4_096 + 128));
    for bit in 64 * 8..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_frame(&segment, &damaged, 64), None, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(read_frame(&segment, &bytes[..length], 64), None, "length {length}");
    }
}

#[test]
fn a_frame_counts_only_in_its_place_and_segment() {
    let segment = header();
    let bytes = [segment.encode().to_vec(), frame(&segment, 64, 0, b"8 bytes!"), vec![0; 64]].concat();
    assert!(read_frame(&segment, &bytes, 64).is_some());
    let moved = [&bytes[..64], &[0; 56], &bytes[64..]].concat();
    assert!(read_frame(&segment, &moved, 120).is_none(), "at another offset");
    let salted = SegmentHeader { salt: *b"pepper!!", ..segment.clone() };
    assert!(read_frame(&salted, &bytes, 64).is_none(), "with another salt");
    let elsewhere = SegmentHeader { start_offset: 8_192, ..segment };
    assert!(read_frame(&elsewhere, &bytes, 64).is_none(), "in another segment");
}

#[test]
fn only_later_intact_headers_call_a_frame_durable() {
    let segment = header();
    // Frames at 64, 120, 176; the one at 64 is bad.
    let log = |durable_offsets: [u64; 2]| {
        let second = frame(&segment, 120, durable_offsets[0], b"8 bytes!");
        let third = frame(&segment, 176, durable_offsets[1], b"8 bytes!");
        [segment.encode().to_vec(), vec![0xff; 56], second, third, vec![0; 256]].concat()
    };
    for (durable_offsets, durable) in
        [([0, 0], false), ([4_160, 4_160], false), ([4_161, 0], true), ([4_160, 4_216], true), ([4_160, 4_272], true)]
    {
        assert_eq!(called_durable(&segment, &log(durable_offsets), 64), durable, "{durable_offsets:?}");
    }
    let mut damaged = log([4_160, 4_272]);
    damaged[176 + 24] ^= 1;
    assert!(!called_durable(&segment, &damaged, 64), "a damaged header says nothing");
}

/// Groups of one to three rows; returns their uuids.
fn rows(builder: &mut GroupBuilder, numbers: std::ops::Range<u64>) -> Vec<Part> {
    let batch = TestBatch::of(numbers);
    for index in 0..batch.events() {
        builder.push_event(batch.slot(index), &batch.event(index));
    }
    builder.finish()
}

fn open(disk: &Arc<dyn Disk>, folder: &Path, recovered: (Vec<super::log::ClosedSegment>, u64)) -> Log {
    let settings = LogSettings {
        folder: folder.to_owned(),
        writer: WRITER,
        segment_bytes: 64 << 10,
        wal_bytes_max: 1 << 30,
        frame_room_bytes: 30 << 10,
        stall: None,
    };
    Log::new(Arc::clone(disk), Arc::new(TestClock::default()), settings, (recovered.0.into(), recovered.1, 0))
}

fn append(log: &mut Log, parts: &[Part]) {
    log.ensure_room(0, || 0).expect("room");
    log.begin_group();
    log.append(5, parts).expect("appended");
    log.sync().expect("synced");
}

fn read(disk: &dyn Disk, folder: &Path) -> Result<Vec<ReplayedGroup>, LogError> {
    let mut groups = Vec::new();
    for segment in find_end(disk, folder, WRITER)?.segments {
        replay(disk, segment, &mut |group| {
            groups.push(group);
            Ok(())
        })?;
    }
    Ok(groups)
}

/// Whatever bit of a log changes, what is read is a prefix of what was written, or an error.
#[test]
fn every_damaged_bit_of_a_log_leaves_a_prefix_or_an_error() {
    let model = ModelDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    let folder = Path::new("/wal");
    let mut log = open(&disk, folder, (Vec::new(), 0));
    let mut builder = GroupBuilder::new(test_writer(), [[1; TABLES]; SLOTS]);
    let written: Vec<Vec<Part>> = (0..3).map(|number| rows(&mut builder, number * 3..number * 3 + 3)).collect();
    written.iter().for_each(|parts| append(&mut log, parts));
    let end = usize::try_from(log.end()).expect("small");
    let path = Path::new("/wal/00000000000000000000.log");
    let intact = read_all(model.open(path).expect("there").as_ref()).expect("readable");
    let mut refused = 0;
    for bit in 0..(end + 16) * 8 {
        // All bits of the first headers and some of the rest.
        if bit > 4_000 && bit % 61 != 0 {
            continue;
        }
        model.damage(path, |bytes| {
            bytes.clone_from(&intact);
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        match read(disk.as_ref(), folder) {
            Err(_) => refused += 1,
            Ok(groups) => {
                for (group, parts) in groups.iter().zip(&written) {
                    let same = group.rows.parts.iter().zip(parts).all(|(read, written)| read.batch == written.batch);
                    assert!(same && group.rows.parts.len() == parts.len(), "bit {bit} changed a row");
                }
            }
        }
    }
    assert!(refused > 0, "damage before a later frame is an error");
}

#[test]
fn rotation_and_removal_on_the_real_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("wal");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(Durability::Fsync));
    assert_eq!(read(disk.as_ref(), &folder).expect("an empty log").len(), 0);
    let mut log = open(&disk, &folder, (Vec::new(), 0));
    let mut builder = GroupBuilder::new(test_writer(), [[1; TABLES]; SLOTS]);
    for number in 0..40 {
        append(&mut log, &rows(&mut builder, number * 10..number * 10 + 10));
    }
    assert_eq!(read(disk.as_ref(), &folder).expect("readable").len(), 40);
    let files = || disk.list(&folder).expect("listed").len();
    let before = files();
    assert!(before >= 3, "{before}");
    assert_eq!(std::fs::metadata(folder.join("00000000000000000000.log")).expect("there").len() % 8, 0);

    let positions = LogPositions::default();
    assert_eq!(log.remove_released(&positions, u64::MAX).expect("nothing to do"), 0);
    positions.release_through(Slot::Main, Table::Events, u64::MAX);
    assert_eq!(log.remove_released(&positions, u64::MAX).expect("nothing to do"), 0, "the late rows are needed");
    positions.release_through(Slot::Late, Table::Events, u64::MAX);
    assert_eq!(log.remove_released(&positions, 0).expect("nothing to do"), 0, "the keys are not written");
    let removed = log.remove_released(&positions, u64::MAX).expect("removed");
    assert_eq!((removed, files()), (before - 1, 1), "all but the open one");
    assert!(log.bytes() == 64 << 10);
    assert_eq!(Positions::default(), [[0; TABLES]; SLOTS]);
}

#[test]
fn a_segment_that_was_never_finished_is_removed() {
    struct Case {
        name: &'static str,
        bytes: Vec<u8>,
        fine: bool,
    }
    let cases = [
        Case { name: "empty", bytes: Vec::new(), fine: true },
        Case { name: "half a header", bytes: header().encode()[..40].to_vec(), fine: true },
        Case { name: "zeros", bytes: vec![0; 4_096], fine: true },
        Case { name: "frames without a header", bytes: [vec![0; 64], vec![1; 64]].concat(), fine: false },
    ];
    for Case { name, bytes, fine } in cases {
        let disk = ModelDisk::default();
        let path = Path::new("/wal/00000000000000000000.log");
        disk.create(path, 0).and_then(|mut file| file.write_at(&bytes, 0)).expect("written");
        let found = find_end(&disk, Path::new("/wal"), WRITER);
        match found {
            Ok(found) => assert!(fine && found.segments.is_empty(), "{name}"),
            Err(error) => assert!(!fine && matches!(error, LogError::Corrupt { .. }), "{name}: {error}"),
        }
    }
}

#[test]
fn the_log_of_another_folder_is_refused() {
    let model = ModelDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(model);
    let mut log = open(&disk, Path::new("/wal"), (Vec::new(), 0));
    log.ensure_room(0, || 0).expect("room");
    let error = find_end(disk.as_ref(), Path::new("/wal"), [4; 16]).expect_err("refused");
    assert!(error.to_string().contains("another data folder"), "{error}");
    assert_eq!(SEGMENT_HEADER_BYTES as u64, log.end());
}
