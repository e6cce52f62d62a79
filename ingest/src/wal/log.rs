//! The open log: append, sync, rotate, remove.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crc32c::crc32c;
use hogflare_catalog::tables::TABLES;
use hogflare_catalog::{Clock, frame};

use super::segment::{
    ALIGNMENT, BODY_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::{LogError, LogPositions, Positions};
use crate::disk::{Disk, DiskFile, Durability, is_full};
use crate::telemetry;

/// Appended bytes are synced at the latest when they exceed this: larger syncs are much slower.
const SYNC_STEP_BYTES: u64 = 3 << 19;

/// What a frame takes beside its rows: headers, schemas, the metadata of its batches.
pub(crate) const FRAME_OVERHEAD_BYTES: u64 = 64 << 10;

/// Holds each frame half written for a while, so that a test can kill the process in the middle.
#[derive(Clone, Debug)]
pub struct FrameStall {
    pub wait: Duration,
    /// This file exists exactly while a frame is not durable.
    pub marker: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) folder: PathBuf,
    pub(crate) writer: [u8; 16],
    /// Allocated when a segment is opened.
    pub(crate) segment_bytes: u64,
    /// Limit of all segments together and of whatever else the caller counts.
    pub(crate) wal_bytes_max: u64,
    /// More than a frame needs, with the schemas before it, unless one event moves many ids.
    pub(crate) frame_room_bytes: u64,
    pub(crate) stall: Option<FrameStall>,
}

/// The one place where rows become durable. Not shared: the writer owns it.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: LogSettings,
    closed: VecDeque<ClosedSegment>,
    open: Option<OpenSegment>,
    /// Log offset of the next frame (or segment).
    end: u64,
    /// Everything below is synced.
    durable: u64,
    group: u64,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    has_schema: [bool; TABLES],
    last: Positions,
}

/// A segment that is not written any more.
#[derive(Debug)]
pub(crate) struct ClosedSegment {
    pub(crate) path: PathBuf,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Position of the last row in it, by (slot, table); 0 where it has none.
    pub(crate) last: Positions,
}

impl Log {
    /// A log behind the segments that recovery found; `end` is where they end. Writes nothing yet.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        settings: LogSettings,
        recovered: (VecDeque<ClosedSegment>, u64, u64),
    ) -> Log {
        let (closed, end, group) = recovered;
        assert!(settings.frame_room_bytes + SEGMENT_HEADER_BYTES as u64 <= settings.segment_bytes);
        Log { disk, clock, settings, closed, open: None, end, durable: end, group, frame: Vec::new() }
    }

    /// Log offset behind the last frame.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Disk space that the segments take.
    pub(crate) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.end - segment.start).sum();
        closed + self.open.as_ref().map_or(0, |_| self.settings.segment_bytes)
    }

    /// Log offset behind the last segment that is not written any more, if there is one.
    pub(crate) fn closed_end(&self) -> Option<u64> {
        self.closed.back().map(|segment| segment.end)
    }

    /// Starts the next group. Its frames share a number.
    pub(crate) fn begin_group(&mut self) {
        self.group += 1;
    }

    /// Makes sure that a frame of any usual size, or of this one, can be appended without asking the disk for
    /// space. [`LogError::Full`] leaves the log as it was, and asking again later is right; `other_bytes` is
    /// counted against the budget too.
    pub(crate) fn ensure_room(&mut self, row_bytes: u64, other_bytes: impl FnOnce() -> u64) -> Result<(), LogError> {
        let of_rows = if row_bytes > 0 { row_bytes + FRAME_OVERHEAD_BYTES } else { 0 };
        let room = self.settings.frame_room_bytes.max(of_rows);
        let used = |open: &OpenSegment| self.end - open.header.start_offset;
        if self.open.as_ref().is_some_and(|open| used(open) + room <= self.settings.segment_bytes) {
            return Ok(());
        }
        if room + SEGMENT_HEADER_BYTES as u64 > self.settings.segment_bytes {
            return Err(LogError::Full(format!("a segment of the log is smaller than a frame of {room} bytes")));
        }
        self.close_segment()?;
        let wanted = self.bytes() + other_bytes() + self.settings.segment_bytes;
        if wanted > self.settings.wal_bytes_max {
            return Err(LogError::Full(format!("it may take {} bytes", self.settings.wal_bytes_max)));
        }
        self.open_segment()
    }

    /// Appends rows as one frame, after the schemas that its segment does not hold yet. Room must have
    /// been ensured. They are durable after the next [`Log::sync`].
    pub(crate) fn append(&mut self, received_us: i64, parts: &[frame::Part]) -> Result<(), LogError> {
        for part in parts {
            let open = self.open.as_mut().expect("room was ensured");
            if !std::mem::replace(&mut open.has_schema[part.table.index()], true) {
                self.start_frame();
                self.frame.extend(frame::encode_schema(part.table));
                self.write_frame(FrameKind::Schema)?;
            }
        }
        self.start_frame();
        frame::encode(received_us, parts, &mut self.frame)?;
        self.write_frame(FrameKind::Group)?;
        let open = self.open.as_mut().expect("room was ensured");
        for part in parts {
            open.last[part.slot.index()][part.table.index()] = part.last_position();
        }
        if self.end - self.durable >= SYNC_STEP_BYTES { self.sync() } else { Ok(()) }
    }

    fn start_frame(&mut self) {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
    }

    fn write_frame(&mut self, kind: FrameKind) -> Result<(), LogError> {
        let open = self.open.as_mut().expect("room was ensured");
        self.frame.resize(self.frame.len().next_multiple_of(ALIGNMENT), 0);
        let body = &self.frame[FRAME_HEADER_BYTES..];
        assert!(body.len() <= BODY_BYTES_MAX, "frames are cut before they reach the limit of a body");
        let header = FrameHeader {
            kind,
            body_len: body.len(),
            body_crc: crc32c(body),
            offset: self.end,
            durable_offset: if open.header.synced { self.durable } else { 0 },
            group: self.group,
        };
        self.frame[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(open.header.salt));
        let at = self.end - open.header.start_offset;
        assert!(at + self.frame.len() as u64 <= self.settings.segment_bytes, "a frame fits the room that was ensured");
        let failed = LogError::io("append to", &open.path);
        match &self.settings.stall {
            None => open.file.write_at(&self.frame, at),
            Some(stall) => write_slowly(open.file.as_mut(), &self.frame, at, stall),
        }
        .map_err(failed)?;
        self.end = header.end();
        Ok(())
    }

    /// Makes everything appended so far survive a power failure. After an error nothing is known of
    /// what was appended since the last sync: the log must not be used any more.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if self.durable == self.end {
            return Ok(());
        }
        let open = self.open.as_mut().expect("what is not durable is in the open segment");
        let started = Instant::now();
        open.file.sync().map_err(LogError::io("sync", &open.path))?;
        metrics::histogram!(telemetry::WAL_SYNC_SECONDS).record(started.elapsed());
        if let Some(stall) = &self.settings.stall {
            std::fs::remove_file(&stall.marker).map_err(LogError::io("remove", &stall.marker))?;
        }
        self.durable = self.end;
        Ok(())
    }

    /// Removes the oldest segments as long as their rows are released and their dedup keys are in files
    /// that cover the log up to `keys_through`. The removals are durable one by one, so that a power
    /// failure never leaves a hole.
    pub(crate) fn remove_released(&mut self, positions: &LogPositions, keys_through: u64) -> Result<usize, LogError> {
        let mut removed = 0;
        while let Some(segment) = self.closed.front() {
            if segment.end > keys_through || !positions.all_released(&segment.last) {
                break;
            }
            self.disk.remove(&segment.path).map_err(LogError::io("remove", &segment.path))?;
            self.disk.sync_folder(&self.settings.folder).map_err(LogError::io("sync", &self.settings.folder))?;
            self.closed.pop_front();
            removed += 1;
        }
        Ok(removed)
    }

    /// Ends the open segment, durably; frees the space behind its last frame.
    pub(crate) fn close_segment(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let start = open.header.start_offset;
        open.file.truncate(self.end - start).map_err(LogError::io("truncate", &open.path))?;
        self.closed.push_back(ClosedSegment { path: open.path, start, end: self.end, last: open.last });
        Ok(())
    }

    /// The segment is durable, with its name, before the first frame is written to it.
    fn open_segment(&mut self) -> Result<(), LogError> {
        assert!(self.open.is_none() && self.durable == self.end, "the segment before is closed");
        let header = SegmentHeader {
            start_offset: self.end,
            writer: self.settings.writer,
            salt: rand::random(),
            created_ms: u64::try_from(self.clock.now_ms()).unwrap_or(0),
            synced: self.disk.durability() == Durability::Fsync,
        };
        let path = self.settings.folder.join(segment_name(self.end));
        let create = || {
            let mut file = self.disk.create(&path, self.settings.segment_bytes)?;
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            self.disk.sync_folder(&self.settings.folder)?;
            Ok(file)
        };
        let file = create().map_err(|error: std::io::Error| {
            if is_full(&error) {
                // Left behind it would be taken for a segment that was never finished, which is right too.
                drop(self.disk.remove(&path));
                return LogError::Full(format!("the disk has no room for another segment ({error})"));
            }
            LogError::io("create", &path)(error)
        })?;
        self.end += SEGMENT_HEADER_BYTES as u64;
        self.durable = self.end;
        self.open =
            Some(OpenSegment { file, path, header, has_schema: Default::default(), last: Positions::default() });
        Ok(())
    }
}

pub(crate) fn segment_name(start_offset: u64) -> String {
    format!("{start_offset:020}.log")
}

fn write_slowly(file: &mut dyn DiskFile, frame: &[u8], at: u64, stall: &FrameStall) -> std::io::Result<()> {
    std::fs::write(&stall.marker, b"")?;
    let half = frame.len() / 2;
    file.write_at(&frame[..half], at)?;
    std::thread::sleep(stall.wait / 2);
    file.write_at(&frame[half..], at + half as u64)?;
    std::thread::sleep(stall.wait / 2);
    Ok(())
}
