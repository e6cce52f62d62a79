//! Where the log ends, and the cut behind its last intact frame.
//!
//! After a power failure the unsynced end of the log may hold anything: a frame may be missing while
//! the next one is intact. So a bad frame is corruption only if something later, and intact, says that
//! it was durable: a frame by its `durable_offset`, or a following segment by its existence (the
//! segment before is synced first). Otherwise nothing from the bad frame on was acknowledged, and the
//! log is cut there.

use std::path::{Path, PathBuf};

use super::LogError;
use super::log::segment_name;
use super::segment::{BadSegment, SEGMENT_HEADER_BYTES, SegmentHeader, called_durable, read_frame};
use crate::disk::{Disk, DiskFile, read_all};

/// A segment whose frames reach from its header to `end` without a gap, durably.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) end: u64,
}

/// The log after the cut, oldest segment first.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) segments: Vec<Segment>,
    /// Bytes of torn frames behind the end.
    pub(crate) cut_bytes: u64,
}

/// Finds the end of the log and cuts what is behind it. When this returns, everything that it found is
/// durable, and so is the cut. Frames before the last segment are only trusted here; reading them
/// checks them.
pub(crate) fn find_end(disk: &dyn Disk, folder: &Path, writer: [u8; 16]) -> Result<Found, LogError> {
    disk.create_folder(folder).map_err(LogError::io("create", folder))?;
    let mut segments = list_segments(disk, folder, writer)?;
    let mut found = Found::default();
    for index in 0..segments.len() {
        let next = segments.get(index + 1).map(|next| next.header.clone());
        let segment = &mut segments[index];
        match next {
            // Written with syncs on: whatever is wrong before it is corruption, and found when reading.
            Some(next) if next.synced => segment.end = next.start_offset,
            next => {
                let (end, torn_bytes) = end_of(disk, segment)?;
                segment.end = end;
                if next.is_none_or(|next| next.start_offset != end) {
                    found.cut_bytes = torn_bytes;
                    cut(disk, folder, &mut segments, index)?;
                    break;
                }
            }
        }
    }
    check_order(&segments)?;
    found.segments = segments;
    Ok(found)
}

fn list_segments(disk: &dyn Disk, folder: &Path, writer: [u8; 16]) -> Result<Vec<Segment>, LogError> {
    let mut names = disk.list(folder).map_err(LogError::io("list", folder))?;
    names.retain(|name| name.ends_with(".log"));
    let mut segments = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let path = folder.join(name);
        let mut file = disk.open(&path).map_err(LogError::io("open", &path))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let header = match file.read_at(&mut bytes, 0) {
            Ok(()) => SegmentHeader::decode(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(BadSegment::Torn),
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        match header {
            Ok(header) if segment_name(header.start_offset) != *name => {
                return Err(LogError::corrupt(&path, 0, "it was renamed"));
            }
            Ok(header) if header.writer != writer => {
                return Err(LogError::Refused(format!("{} belongs to another data folder", path.display())));
            }
            Ok(header) => {
                // What a killed process wrote may still be in memory only.
                file.sync().map_err(LogError::io("sync", &path))?;
                segments.push(Segment { path, end: header.start_offset, header });
            }
            Err(BadSegment::NewerVersion(version)) => {
                let path = path.display();
                return Err(LogError::Refused(format!("{path} has format {version}: a later release wrote it")));
            }
            Err(BadSegment::Torn) => {
                let last = index + 1 == names.len();
                remove_unfinished(disk, &path, file.as_ref(), last)?;
            }
        }
    }
    disk.sync_folder(folder).map_err(LogError::io("sync", folder))?;
    Ok(segments)
}

/// A segment without a header never got a frame, because the header is synced first: it is the last one
/// and holds nothing.
fn remove_unfinished(disk: &dyn Disk, path: &Path, file: &dyn DiskFile, last: bool) -> Result<(), LogError> {
    let bytes = read_all(file).map_err(LogError::io("read", path))?;
    let frames = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
    if !last || frames.iter().any(|byte| *byte != 0) {
        return Err(LogError::corrupt(path, 0, "its header is not readable"));
    }
    disk.remove(path).map_err(LogError::io("remove", path))
}

/// Log offset behind the last intact frame, and how many bytes that are not zero lie behind it.
fn end_of(disk: &dyn Disk, segment: &Segment) -> Result<(u64, u64), LogError> {
    let file = disk.open(&segment.path).map_err(LogError::io("open", &segment.path))?;
    let bytes = read_all(file.as_ref()).map_err(LogError::io("read", &segment.path))?;
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some((frame, _)) = read_frame(&segment.header, &bytes, at) {
        at = usize::try_from(frame.end() - segment.header.start_offset).expect("segments fit memory");
    }
    if called_durable(&segment.header, &bytes, at) {
        return Err(LogError::corrupt(&segment.path, at as u64, "a frame that was durable is not intact any more"));
    }
    let torn = bytes[at..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok((segment.header.start_offset + at as u64, torn as u64))
}

/// Ends the log behind the segment with this index.
fn cut(disk: &dyn Disk, folder: &Path, segments: &mut Vec<Segment>, index: usize) -> Result<(), LogError> {
    for dropped in segments.drain(index + 1..) {
        tracing::warn!(segment = %dropped.path.display(), "removing a segment behind the end of a log written without syncs");
        disk.remove(&dropped.path).map_err(LogError::io("remove", &dropped.path))?;
    }
    let last = &segments[index];
    let mut file = disk.open(&last.path).map_err(LogError::io("open", &last.path))?;
    file.truncate(last.end - last.header.start_offset).map_err(LogError::io("cut", &last.path))?;
    file.sync().map_err(LogError::io("sync", &last.path))?;
    disk.sync_folder(folder).map_err(LogError::io("sync", folder))
}

fn check_order(segments: &[Segment]) -> Result<(), LogError> {
    for pair in segments.windows(2) {
        if pair[0].end != pair[1].header.start_offset {
            let what = format!("the log before it ends at offset {}: a segment is missing", pair[0].end);
            return Err(LogError::corrupt(&pair[1].path, 0, what));
        }
    }
    Ok(())
}
