//! The distinct ids of a person, as text that rows and the state file take as it is.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::protocol::json;

/// Distinct ids that are kept beside their person. One with more cannot be merged into another.
pub(crate) const KEPT_IDS_MAX: usize = 10_000;
/// Ids of a full piece: what a version of the person does not share with the one before is less than that.
const PIECE_IDS: usize = 100;

/// The oldest first; beyond [`KEPT_IDS_MAX`] they are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DistinctIds {
    /// Each of [`PIECE_IDS`], as JSON strings with commas between them.
    full: Vec<Arc<str>>,
    /// The same of fewer.
    last: Box<str>,
    in_last: usize,
    total: u64,
}

impl DistinctIds {
    pub(crate) fn of<const N: usize>(ids: [&str; N]) -> DistinctIds {
        let mut all = DistinctIds::default();
        ids.into_iter().for_each(|id| all.push(id));
        all
    }

    /// Of a JSON array of texts, which lists some of that many.
    pub(crate) fn of_json(array: &str, total: u64) -> Option<DistinctIds> {
        let quoted: Vec<&RawValue> = serde_json::from_str(array).ok()?;
        let mut all = DistinctIds::default();
        for id in quoted.into_iter().take(KEPT_IDS_MAX) {
            if !id.get().starts_with('"') {
                return None;
            }
            all.push_quoted(id.get());
        }
        Some(DistinctIds { total, ..all })
    }

    /// Of what [`DistinctIds::to_json`] gave for all that are listed.
    pub(crate) fn of_stored(array: &str, listed: usize, total: u64) -> Option<DistinctIds> {
        if listed >= PIECE_IDS {
            return Self::of_json(array, total);
        }
        let last = array.strip_prefix('[')?.strip_suffix(']')?;
        Some(DistinctIds { full: Vec::new(), last: last.into(), in_last: listed, total })
    }

    pub(crate) fn push(&mut self, id: &str) {
        self.total += 1;
        if self.listed() < KEPT_IDS_MAX {
            let mut quoted = String::with_capacity(id.len() + 2);
            json::push_string(&mut quoted, id);
            self.push_quoted(&quoted);
        }
    }

    fn push_quoted(&mut self, id: &str) {
        let comma = if self.in_last == 0 { "" } else { "," };
        let last = [&self.last, comma, id].concat();
        if self.in_last + 1 == PIECE_IDS {
            self.full.push(last.into());
            (self.last, self.in_last) = (Box::default(), 0);
        } else {
            (self.last, self.in_last) = (last.into(), self.in_last + 1);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Number of those that are kept.
    pub(crate) fn listed(&self) -> usize {
        self.full.len() * PIECE_IDS + self.in_last
    }

    pub(crate) fn are_all_listed(&self) -> bool {
        self.listed() as u64 == self.total
    }

    pub(crate) fn first(&self) -> Option<String> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = String> {
        let parse = |piece: &str| {
            let ids: Vec<String> = serde_json::from_str(&["[", piece, "]"].concat()).expect("a piece is JSON");
            ids
        };
        self.pieces().flat_map(parse)
    }

    /// A JSON array of the oldest, whole pieces if there are more.
    pub(crate) fn to_json(&self, ids_max: usize) -> String {
        let mut array = String::from("[");
        for piece in self.pieces().take(ids_max.div_ceil(PIECE_IDS)) {
            if array.len() > 1 {
                array.push(',');
            }
            array.push_str(piece);
        }
        array.push(']');
        array
    }

    /// Bytes of the texts that are kept.
    pub(crate) fn text_bytes(&self) -> usize {
        self.pieces().map(str::len).sum()
    }

    /// Memory, as if nothing were shared.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.text_bytes() + self.full.len() * size_of::<Arc<str>>()
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let last = (self.in_last > 0).then_some(&*self.last);
        self.full.iter().map(|piece| &**piece).chain(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_give_the_same_ids_again() {
        let all = |count: usize| -> Vec<String> { (0..count).map(|number| format!("id \"{number}\" \n é")).collect() };
        for count in [0, 1, 2, 99, 100, 101, 250, KEPT_IDS_MAX, KEPT_IDS_MAX + 3] {
            let mut ids = DistinctIds::default();
            all(count).iter().for_each(|id| ids.push(id));
            let kept = count.min(KEPT_IDS_MAX);
            assert_eq!(ids.iter().collect::<Vec<_>>(), all(kept), "{count}");
            assert_eq!((ids.listed(), ids.total()), (kept, count as u64));
            assert_eq!(ids.are_all_listed(), kept == count, "{count}");
            assert_eq!(ids.first(), all(kept).into_iter().next());
            let json = ids.to_json(KEPT_IDS_MAX);
            assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), all(kept));
            assert_eq!(DistinctIds::of_stored(&json, kept, count as u64).as_ref(), Some(&ids), "{count}");
            assert_eq!(DistinctIds::of_json(&json.replace(',', " , "), count as u64), Some(ids));
        }
    }

    #[test]
    fn the_oldest_are_listed() {
        let mut ids = DistinctIds::default();
        (0..1_234).for_each(|number| ids.push(&number.to_string()));
        let listed: Vec<String> = serde_json::from_str(&ids.to_json(1_000)).unwrap();
        assert_eq!((listed.len(), &*listed[0], &*listed[999]), (1_000, "0", "999"));
    }

    #[test]
    fn what_is_no_list_of_texts_is_refused() {
        for array in ["", "[", r#"["a""#, "[1]", r#"{"a":1}"#, r#"["a",null]"#] {
            assert_eq!(DistinctIds::of_json(array, 1), None, "{array}");
        }
    }
}
