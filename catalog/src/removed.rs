//! The statement that rows were removed on purpose. Positions count without gaps, so whoever takes rows
//! of ours out of a table for good must say which, or the table looks as if it had lost them.
//!
//! The text is `<slot id>:<a>-<b>[,<a>-<b>…][;<slot id>:…]`: what the column `_writer` holds, and ranges of
//! `_position` with both ends included, such as `0011223344556677:5-5,90-120;0011223344556677-late:1-3`.
//! It stands under [`REMOVED_PROPERTY`] in the summary of the snapshot that removed the rows, and, because
//! snapshots expire, everything ever removed stands in the table property of the same name, set in the
//! same commit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::head::TableHead;

/// Key in snapshot summaries and name of the table property.
pub const REMOVED_PROPERTY: &str = "hogflare.removed";

/// Removed positions by slot id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedPositions {
    /// Sorted, apart from one another, both ends included.
    ranges: BTreeMap<String, Vec<(u64, u64)>>,
}

impl RemovedPositions {
    /// Adds the positions `from` to `through`, both included; what is there already changes nothing.
    pub fn add(&mut self, slot_id: &str, from: u64, through: u64) {
        assert!(from <= through, "a range ends where it begins, or later");
        let ranges = self.ranges.entry(slot_id.to_owned()).or_default();
        ranges.push((from, through));
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (from, through) in ranges.drain(..) {
            match joined.last_mut() {
                Some((_, last)) if from <= last.saturating_add(1) => *last = through.max(*last),
                _ => joined.push((from, through)),
            }
        }
        *ranges = joined;
    }

    pub fn extend(&mut self, other: &RemovedPositions) {
        for (slot_id, ranges) in &other.ranges {
            ranges.iter().for_each(|(from, through)| self.add(slot_id, *from, *through));
        }
    }

    /// The ranges of a slot, sorted and apart from one another.
    pub fn of(&self, slot_id: &str) -> &[(u64, u64)] {
        self.ranges.get(slot_id).map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl fmt::Display for RemovedPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (slot_id, ranges)) in self.ranges.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            let ranges = ranges.iter().map(|(from, through)| format!("{from}-{through}"));
            write!(f, "{separator}{slot_id}:{}", ranges.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

impl FromStr for RemovedPositions {
    type Err = String;

    fn from_str(text: &str) -> Result<RemovedPositions, String> {
        let mut removed = RemovedPositions::default();
        for slot in text.split(';').filter(|slot| !slot.is_empty()) {
            let damaged = || format!("{REMOVED_PROPERTY}: {slot:?} is not <slot id>:<a>-<b>[,<a>-<b>…]");
            let (slot_id, ranges) = slot.split_once(':').filter(|(id, _)| !id.is_empty()).ok_or_else(damaged)?;
            for range in ranges.split(',') {
                let (from, through) = range.split_once('-').ok_or_else(damaged)?;
                let number = |text: &str| text.parse::<u64>().map_err(|_| damaged());
                let (from, through) = (number(from)?, number(through)?);
                if from == 0 || from > through {
                    return Err(damaged());
                }
                removed.add(slot_id, from, through);
            }
        }
        Ok(removed)
    }
}

impl TableHead {
    /// What commits of ours state as removed from `main`, in the table property and in the summaries of
    /// retained snapshots. Fails with the text that cannot be read.
    pub fn removed(&self) -> Result<RemovedPositions, String> {
        let mut removed = RemovedPositions::default();
        if let Some(text) = self.metadata.properties().get(REMOVED_PROPERTY) {
            removed.extend(&text.parse()?);
        }
        for snapshot in self.snapshots().iter().filter(|snapshot| snapshot.on_main) {
            if let Some(text) = snapshot.summary.get(REMOVED_PROPERTY) {
                removed.extend(&text.parse()?);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_joined_and_written() {
        let check = |text: &str, expected: Result<&str, ()>| {
            let read = text.parse::<RemovedPositions>();
            assert_eq!(read.map(|removed| removed.to_string()).map_err(|_| ()), expected.map(str::to_owned), "{text}");
        };
        check("", Ok(""));
        check("a:1-1", Ok("a:1-1"));
        check("b:7-9,1-3;a-late:5-5", Ok("a-late:5-5;b:1-3,7-9"));
        check("a:1-3,4-6,2-10,12-12", Ok("a:1-10,12-12"));
        check("a:5-6;a:6-8", Ok("a:5-8"));
        check("a:18446744073709551614-18446744073709551615", Ok("a:18446744073709551614-18446744073709551615"));
        for damaged in ["a", "a:", ":1-2", "a:1", "a:2-1", "a:0-1", "a:1-x", "a:1-2,", "a:-1-2"] {
            check(damaged, Err(()));
        }
    }
}
