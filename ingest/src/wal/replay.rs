//! Reading the groups of a log whose end is known.

use bytes::Bytes;
use hogflare_catalog::frame;

use super::log::ClosedSegment;
use super::scan::Segment;
use super::segment::{FrameKind, SEGMENT_HEADER_BYTES, read_frame};
use super::{LogError, Positions};
use crate::disk::{Disk, read_all};

/// The rows of one frame.
#[derive(Debug)]
pub(crate) struct ReplayedGroup {
    /// Log offset of the frame.
    pub(crate) offset: u64,
    /// Number of the group that it belongs to.
    pub(crate) number: u64,
    pub(crate) rows: frame::Group,
}

/// Hands every group of a segment to `visit`, in order. A frame is checked before it is decoded; a bad
/// one is corruption, because the end of the log was found behind it.
pub(crate) fn replay(
    disk: &dyn Disk,
    segment: Segment,
    visit: &mut dyn FnMut(ReplayedGroup) -> Result<(), LogError>,
) -> Result<ClosedSegment, LogError> {
    let Segment { path, header, end } = segment;
    let file = disk.open(&path).map_err(LogError::io("open", &path))?;
    let bytes = read_all(file.as_ref()).map_err(LogError::io("read", &path))?;
    let mut schemas = frame::SchemaSet::default();
    let mut last = Positions::default();
    let mut at = SEGMENT_HEADER_BYTES;
    while header.start_offset + (at as u64) < end {
        let Some((frame, body)) = read_frame(&header, &bytes, at) else {
            return Err(LogError::corrupt(&path, at as u64, missing(&bytes[at.min(bytes.len())..], end)));
        };
        at = usize::try_from(frame.end() - header.start_offset).expect("segments fit memory");
        match frame.kind {
            FrameKind::Schema => schemas.add(body)?,
            FrameKind::Group => {
                let rows = frame::decode(Bytes::copy_from_slice(body), &schemas)?;
                for part in &rows.parts {
                    last[part.slot.index()][part.table.index()] = part.last_position();
                }
                visit(ReplayedGroup { offset: frame.offset, number: frame.group, rows })?;
            }
        }
    }
    if header.start_offset + at as u64 != end {
        return Err(LogError::corrupt(&path, at as u64, format!("the next segment starts at offset {end}")));
    }
    Ok(ClosedSegment { path, start: header.start_offset, end, last })
}

fn missing(rest: &[u8], end: u64) -> String {
    match rest.iter().all(|byte| *byte == 0) {
        true => format!("the log goes on at offset {end}; what was before it is missing, perhaps a whole segment"),
        false => "a frame that was durable is not intact any more".to_owned(),
    }
}
