//! Bytes of segments and frames, little endian. Pure: no I/O.
//!
//! ```text
//! segment header, 64 bytes:
//!   magic 8 · header_len u16 · version u16 · flags u32 (bit 0: syncs were off) · start_offset u64
//!   · writer 16 · salt 8 · created_ms u64 · reserved 4 · crc32c u32
//! frame header, 48 bytes, at a multiple of 8:
//!   magic u32 · kind u8 (1 schema, 2 group) · flags u8 · header_len u16 · body_len u32 · body_crc u32
//!   · offset u64 (its own) · durable_offset u64 · group u64 · reserved u32 · header_crc u32
//! body: a multiple of 8 bytes, at most 4 MiB
//! ```
//!
//! The header has a checksum of its own, so that the length is trusted before the body is read. It is
//! seeded with the segment's random salt and states its own offset: bytes inside an event's text, or
//! left over from another segment, cannot be taken for a frame.

use crc32c::{crc32c, crc32c_append};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 48;
pub(crate) const BODY_BYTES_MAX: usize = 20 << 20;
/// Bodies and frames have a multiple of this length.
pub(crate) const ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"HFLOG\0\0\x01";
const FRAME_MAGIC: [u8; 4] = *b"HFRM";
const VERSION: u16 = 1;
const FLAG_UNSYNCED: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) start_offset: u64,
    pub(crate) writer: [u8; 16],
    pub(crate) salt: [u8; 8],
    pub(crate) created_ms: u64,
    /// Written with syncs on: its existence proves that the log below `start_offset` was durable.
    pub(crate) synced: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadSegment {
    /// Not the header of a segment: cut short, all zeros, or damaged.
    Torn,
    NewerVersion(u16),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
        bytes[10..12].copy_from_slice(&VERSION.to_le_bytes());
        let flags = if self.synced { 0 } else { FLAG_UNSYNCED };
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.start_offset.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.writer);
        bytes[40..48].copy_from_slice(&self.salt);
        bytes[48..56].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadSegment> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk().ok_or(BadSegment::Torn)?;
        if bytes[..8] != SEGMENT_MAGIC || crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadSegment::Torn);
        }
        let version = u16::from_le_bytes([bytes[10], bytes[11]]);
        if version > VERSION {
            return Err(BadSegment::NewerVersion(version));
        }
        Ok(SegmentHeader {
            start_offset: u64_at(bytes, 16),
            writer: bytes[24..40].try_into().expect("sixteen bytes"),
            salt: bytes[40..48].try_into().expect("eight bytes"),
            created_ms: u64_at(bytes, 48),
            synced: u32_at(bytes, 12) & FLAG_UNSYNCED == 0,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Schema = 1,
    Group = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) body_len: usize,
    pub(crate) body_crc: u32,
    /// Log offset of this header.
    pub(crate) offset: u64,
    /// Everything below this log offset was synced when the frame was written.
    pub(crate) durable_offset: u64,
    pub(crate) group: u64,
}

impl FrameHeader {
    pub(crate) fn encode(&self, salt: [u8; 8]) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4] = self.kind as u8;
        bytes[6..8].copy_from_slice(&(FRAME_HEADER_BYTES as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(&u32::try_from(self.body_len).expect("bodies are small").to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.group.to_le_bytes());
        let crc = crc32c_append(crc32c(&salt), &bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at byte `at` of a segment, if an intact one of this segment stands there.
    pub(crate) fn decode(segment: &SegmentHeader, bytes: &[u8], at: usize) -> Option<FrameHeader> {
        let header: &[u8; FRAME_HEADER_BYTES] = bytes.get(at..)?.first_chunk()?;
        if header[..4] != FRAME_MAGIC || crc32c_append(crc32c(&segment.salt), &header[..44]) != u32_at(header, 44) {
            return None;
        }
        let kind = match header[4] {
            1 => FrameKind::Schema,
            2 => FrameKind::Group,
            _ => return None,
        };
        let frame = FrameHeader {
            kind,
            body_len: u32_at(header, 8) as usize,
            body_crc: u32_at(header, 12),
            offset: u64_at(header, 16),
            durable_offset: u64_at(header, 24),
            group: u64_at(header, 32),
        };
        let in_place = frame.offset == segment.start_offset + at as u64;
        (in_place && frame.body_len <= BODY_BYTES_MAX && frame.body_len.is_multiple_of(ALIGNMENT)).then_some(frame)
    }

    /// Log offset of the next frame.
    pub(crate) fn end(&self) -> u64 {
        self.offset + (FRAME_HEADER_BYTES + self.body_len) as u64
    }
}

/// The intact frame at byte `at` of a segment: its header and its body.
pub(crate) fn read_frame<'a>(segment: &SegmentHeader, bytes: &'a [u8], at: usize) -> Option<(FrameHeader, &'a [u8])> {
    let header = FrameHeader::decode(segment, bytes, at)?;
    let body = bytes.get(at + FRAME_HEADER_BYTES..)?.get(..header.body_len)?;
    (crc32c(body) == header.body_crc).then_some((header, body))
}

/// Whether a header after byte `at` of the segment says that the frame at `at` was durable.
pub(crate) fn called_durable(segment: &SegmentHeader, bytes: &[u8], at: usize) -> bool {
    let offset = segment.start_offset + at as u64;
    let later = (at + ALIGNMENT..bytes.len()).step_by(ALIGNMENT);
    let mut headers = later.filter_map(|at| FrameHeader::decode(segment, bytes, at));
    headers.any(|header| header.durable_offset > offset)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
