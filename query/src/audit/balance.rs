//! Rows that are missing on purpose: what the snapshots of others state to have removed.
//!
//! Others state counts, not positions, so they explain at most so many missing positions.

use std::collections::BTreeMap;

use hogflare_catalog::history::SnapshotFacts;
use serde::Serialize;

use crate::travel::time_text;

/// A snapshot of someone else that removed rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuestSnapshot {
    pub snapshot_id: String,
    pub committed_at: String,
    pub operation: String,
    /// Rows that its summary states as removed, with their files or by position.
    pub removed: u64,
    /// Rows that it added, rewritten ones among them.
    pub added: u64,
}

/// How many missing rows others have stated.
#[derive(Debug, Default)]
pub(super) struct Stated {
    pub(super) guests: Vec<GuestSnapshot>,
    /// Whether every snapshot since the table's first is kept.
    pub(super) is_complete: bool,
    /// Rows of ours that the kept snapshots of guests took out, at most.
    pub(super) by_guests: u64,
    /// Rows that were gone before the oldest kept snapshot, by its own total, at most.
    pub(super) by_expired: u64,
}

impl Stated {
    /// `watermarks` by slot id; `others` are the rows in the table now that no sequence gave.
    pub(super) fn of(snapshots: &[SnapshotFacts], watermarks: &BTreeMap<String, u64>, others: u64) -> Stated {
        let on_main: Vec<&SnapshotFacts> = snapshots.iter().filter(|snapshot| snapshot.on_main).collect();
        let Some((oldest, later)) = on_main.split_first() else {
            return Stated { is_complete: true, ..Stated::default() };
        };
        let is_complete = oldest.parent_id.is_none();
        // What the oldest one did is in its total already.
        let counted = if is_complete { &on_main } else { later };
        let foreign = || counted.iter().filter(|snapshot| !snapshot.is_ours());
        let guests: Vec<GuestSnapshot> =
            foreign().map(|snapshot| GuestSnapshot::of(snapshot)).filter(|guest| guest.removed > 0).collect();
        let appended = foreign().map(|snapshot| GuestSnapshot::of(snapshot)).filter(|guest| guest.removed == 0);
        let appended: u64 = appended.map(|guest| guest.added).sum();
        let removed: u64 = guests.iter().map(|guest| guest.removed).sum();
        let added: u64 = guests.iter().map(|guest| guest.added).sum();
        // A row that was added while others were removed is a copy that keeps our position, unless it
        // is among the rows of others that no plain append explains.
        let copies = added.saturating_sub(others.saturating_sub(appended));
        let by_expired = match is_complete {
            true => 0,
            false => gone_before(oldest, later, watermarks, others),
        };
        Stated { is_complete, by_guests: removed.saturating_sub(copies), by_expired, guests }
    }
}

impl GuestSnapshot {
    fn of(snapshot: &SnapshotFacts) -> GuestSnapshot {
        let count = |name: &str| snapshot.count(name).unwrap_or(0);
        let removed = count("deleted-records") + count("added-position-deletes");
        GuestSnapshot {
            snapshot_id: snapshot.id.to_string(),
            committed_at: time_text(snapshot.committed_at_ms),
            operation: snapshot.operation.clone(),
            removed: removed.saturating_sub(count("removed-position-deletes")),
            added: count("added-records"),
        }
    }
}

/// Rows that sequences had committed up to the oldest kept snapshot and that its total does not count.
fn gone_before(
    oldest: &SnapshotFacts,
    later: &[&SnapshotFacts],
    watermarks: &BTreeMap<String, u64>,
    others: u64,
) -> u64 {
    let Some(live) = live_rows(oldest) else { return 0 };
    let committed: u64 = watermarks
        .iter()
        .map(|(slot_id, watermark)| {
            let next = later.iter().find(|snapshot| snapshot.summary.get("hogflare.writer") == Some(slot_id));
            next.and_then(|snapshot| snapshot.count("hogflare.after")).unwrap_or(*watermark)
        })
        .sum();
    (committed + others).saturating_sub(live)
}

/// Rows of a snapshot by its own totals; none if it does not state them.
pub(super) fn live_rows(snapshot: &SnapshotFacts) -> Option<u64> {
    let deleted = snapshot.count("total-position-deletes").unwrap_or(0);
    snapshot.count("total-records").map(|records| records.saturating_sub(deleted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: i64, summary: &[(&str, &str)]) -> SnapshotFacts {
        SnapshotFacts {
            id,
            parent_id: (id > 1).then_some(id - 1),
            committed_at_ms: id,
            operation: "overwrite".to_owned(),
            summary: summary.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            references: Vec::new(),
            on_main: true,
        }
    }

    fn check(what: &str, snapshots: &[SnapshotFacts], others: u64, expected: (bool, u64, u64)) {
        let watermarks = BTreeMap::from([("w".to_owned(), 100)]);
        let stated = Stated::of(snapshots, &watermarks, others);
        assert_eq!((stated.is_complete, stated.by_guests, stated.by_expired), expected, "{what}");
    }

    #[test]
    fn guests_explain_what_they_state_and_no_more() {
        let ours = snapshot(1, &[("hogflare.writer", "w"), ("added-records", "100"), ("total-records", "100")]);
        let guest = |summary: &[(&str, &str)]| vec![ours.clone(), snapshot(2, summary)];
        check("nobody", std::slice::from_ref(&ours), 0, (true, 0, 0));
        check("no snapshot at all", &[], 0, (true, 0, 0));
        check("deleted by position", &guest(&[("added-position-deletes", "5")]), 0, (true, 5, 0));
        let rewrite = [("deleted-records", "50"), ("added-records", "48")];
        check("files rewritten without some rows", &guest(&rewrite), 0, (true, 2, 0));
        check("rows replaced by those of others", &guest(&rewrite), 48, (true, 50, 0));
        let update = [("added-position-deletes", "7"), ("added-records", "7")];
        check("updated rows keep their positions", &guest(&update), 0, (true, 0, 0));
        check(
            "deletes folded into files",
            &guest(&[("removed-position-deletes", "5"), ("deleted-records", "5")]),
            0,
            (true, 0, 0),
        );
        let mut with_append = guest(&[("added-records", "30")]);
        with_append.push(snapshot(3, &rewrite));
        check("rows of others that were appended explain nothing", &with_append, 30, (true, 2, 0));
        let mut aside = guest(&[("deleted-records", "9")]);
        aside[1].on_main = false;
        check("another branch", &aside, 0, (true, 0, 0));
    }

    #[test]
    fn the_oldest_total_stands_for_what_has_expired() {
        let oldest = |total: &str| snapshot(5, &[("hogflare.writer", "w"), ("total-records", total)]);
        let next = snapshot(6, &[("hogflare.writer", "w"), ("hogflare.after", "60"), ("added-records", "40")]);
        check("nothing was gone", &[oldest("60"), next.clone()], 0, (false, 0, 0));
        check("ten were gone", &[oldest("50"), next.clone()], 0, (false, 0, 10));
        check("ten were gone, five of others came", &[oldest("55"), next], 5, (false, 0, 10));
        check("no commit since", &[oldest("90")], 0, (false, 0, 10));
        let silent = snapshot(5, &[("hogflare.writer", "w")]);
        check("no total", &[silent], 0, (false, 0, 0));
    }
}
