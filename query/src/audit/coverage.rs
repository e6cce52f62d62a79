//! Which positions of a range have a row: one bit each, so that duplicates and holes are exact whatever
//! the order of the rows.

/// The positions `first` to `first + len - 1`.
#[derive(Debug)]
pub(super) struct Coverage {
    first: u64,
    len: u64,
    words: Vec<u64>,
}

impl Coverage {
    /// Bytes that a range of this many positions takes.
    pub(super) fn bytes(len: u64) -> usize {
        usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX).saturating_mul(8)
    }

    pub(super) fn new(first: u64, len: u64) -> Coverage {
        Coverage { first, len, words: vec![0; Coverage::bytes(len) / 8] }
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.len - 1
    }

    /// False if the position had been marked before. It must lie in the range.
    pub(super) fn mark(&mut self, position: u64) -> bool {
        let (word, bit) = self.place(position);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// How many positions between two, both included, are marked. They may reach beyond the range.
    pub(super) fn marked(&self, from: u64, through: u64) -> u64 {
        self.clipped(from, through).map(|position| u64::from(self.is_marked(position))).sum()
    }

    /// How many positions of the range between two, both included, are not marked.
    pub(super) fn unmarked(&self, from: u64, through: u64) -> u64 {
        self.clipped(from, through).map(|position| u64::from(!self.is_marked(position))).sum()
    }

    /// Marks all positions between two, both included. They may reach beyond the range.
    pub(super) fn mark_all(&mut self, from: u64, through: u64) {
        for position in self.clipped(from, through) {
            self.mark(position);
        }
    }

    /// Runs of positions that are not marked, in order, both ends included.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let from = self.first_from(next, false)?;
            let through = self.first_from(from, true).map_or(self.last(), |marked| marked - 1);
            next = through + 1;
            Some((from, through))
        })
    }

    /// The first position from one on that is marked, or that is not.
    fn first_from(&self, mut position: u64, marked: bool) -> Option<u64> {
        while position <= self.last() {
            let (word, _) = self.place(position);
            let offset = (position - self.first) % 64;
            let wanted = if marked { self.words[word] } else { !self.words[word] } >> offset;
            if wanted != 0 {
                let found = position + u64::from(wanted.trailing_zeros());
                return (found <= self.last()).then_some(found);
            }
            position += 64 - offset;
        }
        None
    }

    fn is_marked(&self, position: u64) -> bool {
        let (word, bit) = self.place(position);
        self.words[word] & bit != 0
    }

    fn clipped(&self, from: u64, through: u64) -> std::ops::RangeInclusive<u64> {
        from.max(self.first)..=through.min(self.last())
    }

    fn place(&self, position: u64) -> (usize, u64) {
        assert!((self.first..=self.last()).contains(&position), "{position} is outside of the range");
        let offset = position - self.first;
        (usize::try_from(offset / 64).expect("the words are in memory"), 1 << (offset % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repeats_are_exact() {
        let check = |first: u64, len: u64, positions: &[u64], repeats: usize, gaps: &[(u64, u64)]| {
            let mut coverage = Coverage::new(first, len);
            let repeated = positions.iter().filter(|position| !coverage.mark(**position)).count();
            assert_eq!(repeated, repeats, "{positions:?}");
            assert_eq!(coverage.gaps().collect::<Vec<_>>(), gaps, "{positions:?}");
            let missing: u64 = gaps.iter().map(|(from, through)| through - from + 1).sum();
            assert_eq!(coverage.marked(0, u64::MAX), len - missing);
        };
        check(1, 5, &[1, 2, 3, 4, 5], 0, &[]);
        check(1, 5, &[5, 3, 3, 1], 1, &[(2, 2), (4, 4)]);
        check(1, 5, &[], 0, &[(1, 5)]);
        check(1, 1, &[1, 1, 1], 2, &[]);
        // Sums of positions and of their squares are those of 1..7: only looking at each finds it.
        check(1, 7, &[2, 3, 7, 2, 3, 7, 4], 3, &[(1, 1), (5, 6)]);
        let all: Vec<u64> = (101..=330).collect();
        check(101, 230, &all, 0, &[]);
        check(101, 230, &all[1..], 0, &[(101, 101)]);
        check(101, 230, &all[..229], 0, &[(330, 330)]);
        check(101, 230, &[&all[..63], &all[65..]].concat(), 0, &[(164, 165)]);
        check(101, 230, &[&all[..10], &all[200..]].concat(), 0, &[(111, 300)]);
    }

    #[test]
    fn ranges_that_reach_beyond_are_clipped() {
        let mut coverage = Coverage::new(65, 64);
        coverage.mark_all(1, 70);
        coverage.mark_all(100, 101);
        coverage.mark_all(128, 500);
        coverage.mark_all(500, 600);
        assert_eq!(coverage.gaps().collect::<Vec<_>>(), [(71, 99), (102, 127)]);
        assert_eq!((coverage.marked(1, 64), coverage.marked(70, 100), coverage.marked(1, 1_000)), (0, 2, 9));
    }
}
