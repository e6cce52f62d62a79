//! A generation's file: `<slot>-<20-digit generation>.keys`, little endian.
//!
//! ```text
//! header, 32 bytes: magic u32 · version u16 · slot u8 · 0 u8 · generation u64 · key check u64 · created_ms u64
//! block: first_log_offset u64 · through_log_offset u64 · n u32 · crc32c u32 (of all else) · n × key u64
//! ```
//! A block whose two offsets are equal covers nothing for good: another block with the rest of the
//! same frames follows in the next generation.

use std::path::{Path, PathBuf};

use crc32c::{crc32c, crc32c_append};
use hogflare_catalog::Slot;

use super::Key;
use crate::disk::{Disk, DiskFile, is_full, read_all};
use crate::wal::LogError;

const HEADER_BYTES: usize = 32;
const BLOCK_HEADER_BYTES: usize = 24;
const MAGIC: [u8; 4] = *b"HFDK";
const VERSION: u16 = 1;

/// Where generations are kept.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) folder: &'a Path,
    pub(super) check: u64,
}

/// What a generation's file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) slot: Slot,
    pub(super) generation: u64,
    pub(super) check: u64,
    pub(super) created_ms: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = self.slot as u8;
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.check.to_le_bytes());
        bytes[24..].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Option<Header>, LogError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>().filter(|bytes| bytes[..4] == MAGIC) else {
            return Ok(None);
        };
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version > VERSION {
            let path = path.display();
            return Err(LogError::Refused(format!("{path} has format {version}: a later release wrote it")));
        }
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let header = |slot| Header { slot, generation: word(8), check: word(16), created_ms: word(24) };
        Ok(Slot::from_index(bytes[6]).map(header))
    }
}

/// Keys of frames at log offsets `[first, through)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) through: u64,
    pub(super) keys: Vec<Key>,
}

impl Block {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_HEADER_BYTES + self.keys.len() * 8);
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.through.to_le_bytes());
        bytes.extend(u32::try_from(self.keys.len()).expect("a block is part of a generation").to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.keys.iter().flat_map(|key| key.to_le_bytes()));
        let crc = checksum(&bytes);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The block at the start of the bytes and its length, if it is intact.
    fn decode(bytes: &[u8]) -> Option<(Block, usize)> {
        let header = bytes.first_chunk::<BLOCK_HEADER_BYTES>()?;
        let count = u32::from_le_bytes(header[16..20].try_into().expect("four bytes")) as usize;
        let length = BLOCK_HEADER_BYTES + count * 8;
        let block = bytes.get(..length)?;
        if checksum(block).to_le_bytes() != header[20..24] {
            return None;
        }
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let keys = block[BLOCK_HEADER_BYTES..].chunks_exact(8).map(word).collect();
        Some((Block { first: word(&header[..8]), through: word(&header[8..16]), keys }, length))
    }
}

fn checksum(block: &[u8]) -> u32 {
    crc32c_append(crc32c(&block[..20]), &block[BLOCK_HEADER_BYTES..])
}

/// An open file of a generation.
#[derive(Debug)]
pub(super) struct KeyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    size_bytes: u64,
}

impl KeyFile {
    pub(super) fn create(place: &Place<'_>, header: &Header) -> Result<KeyFile, LogError> {
        let path = place.folder.join(name(header.slot, header.generation));
        let create = || {
            let mut file = place.disk.create(&path, 0)?;
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            place.disk.sync_folder(place.folder)?;
            Ok(file)
        };
        let file = create().map_err(|error| failed("create", &path, error))?;
        Ok(KeyFile { file, path, size_bytes: HEADER_BYTES as u64 })
    }

    /// Reads a file; none if it is not of this hash key or was never finished. What follows the last
    /// intact block, or a block of frames behind `limit`, is cut off.
    pub(super) fn open(
        place: &Place<'_>,
        name: &str,
        limit: u64,
    ) -> Result<Option<(KeyFile, Header, Vec<Block>)>, LogError> {
        let path = place.folder.join(name);
        let mut file = place.disk.open(&path).map_err(LogError::io("open", &path))?;
        let bytes = read_all(file.as_ref()).map_err(LogError::io("read", &path))?;
        let header = Header::decode(&bytes, &path)?.filter(|header| header.check == place.check);
        let Some(header) = header else { return Ok(None) };
        let mut blocks = Vec::new();
        let mut at = HEADER_BYTES;
        while let Some((block, length)) = Block::decode(&bytes[at..]).filter(|(block, _)| block.through <= limit) {
            blocks.push(block);
            at += length;
        }
        if at < bytes.len() {
            file.truncate(at as u64).map_err(LogError::io("cut", &path))?;
        }
        file.sync().map_err(LogError::io("sync", &path))?;
        Ok(Some((KeyFile { file, path, size_bytes: at as u64 }, header, blocks)))
    }

    /// Appends a block, durably. After a failure for want of space it may be tried again.
    pub(super) fn append(&mut self, block: &Block) -> Result<(), LogError> {
        let bytes = block.encode();
        self.file.write_at(&bytes, self.size_bytes).map_err(|error| failed("append to", &self.path, error))?;
        self.file.sync().map_err(LogError::io("sync", &self.path))?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn failed(doing: &'static str, path: &Path, error: std::io::Error) -> LogError {
    if is_full(&error) {
        return LogError::Full(format!("the disk has no room for {} ({error})", path.display()));
    }
    LogError::io(doing, path)(error)
}

pub(super) fn name(slot: Slot, generation: u64) -> String {
    format!("{}-{generation:020}.keys", slot.name())
}

/// Slot and generation in a file's name.
pub(super) fn parse_name(name: &str) -> Option<(Slot, u64)> {
    let (slot, generation) = name.strip_suffix(".keys")?.split_once('-')?;
    let slot = Slot::ALL.into_iter().find(|known| known.name() == slot)?;
    Some((slot, generation.parse().ok()?))
}
