//! What can go wrong at which step: scripted or drawn, and a record of what did.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// What a client asks for, as far as faults and counts are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    Config,
    Token,
    Namespace,
    Load,
    Create,
    Commit,
    Credentials,
    Put,
    Get,
    Head,
    List,
    Delete,
    Multipart,
    /// Counted, never disturbed: listing, probing and dropping tables, and what is not served at all.
    Other,
}

impl Step {
    /// The steps that faults can meet.
    pub(crate) const ALL: [Step; 13] = [
        Step::Config,
        Step::Token,
        Step::Namespace,
        Step::Load,
        Step::Create,
        Step::Commit,
        Step::Credentials,
        Step::Put,
        Step::Get,
        Step::Head,
        Step::List,
        Step::Delete,
        Step::Multipart,
    ];

    fn changes_something(self) -> bool {
        use Step::{Commit, Create, Delete, Multipart, Namespace, Put};
        matches!(self, Namespace | Create | Commit | Put | Delete | Multipart)
    }

    fn answers_with_text(self) -> bool {
        !matches!(self, Step::Put | Step::Get | Step::Head | Step::Delete | Step::Other)
    }
}

/// One disturbance of one request. "Applied" means that the request took effect before the disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered with this status; nothing was done.
    Status(u16),
    /// Applied, then answered with this status.
    AppliedThen(u16),
    /// The connection is reset instead of an answer; nothing was done.
    Reset,
    AppliedThenReset,
    /// No answer until the client gives up or [`super::FakeSettings::hang`] has passed; nothing was done.
    Hang,
    AppliedThenHang,
    /// Applied; half of the answer's body under its full length, then the end of the connection.
    Truncated,
    /// Applied; 200 with a body that is not what was asked for.
    Garbage,
    /// Applied twice, as by a proxy that sends it again; the second answer is sent.
    Replayed,
    /// 429 with `Retry-After`; nothing was done.
    RateLimited,
    /// The token or the keys that came with the request are no longer valid, from now on if they were lent out.
    ExpiredCredentials,
    /// First another writer appends a snapshot without rows.
    Foreign,
    /// First another writer replaces the head: same rows, other manifests, none of our summary keys.
    Compacted,
    /// First another writer's snapshot becomes the head, unless one is, and all snapshots below it are removed.
    ExpiredSnapshot,
}

impl Fault {
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Fault::Status(_) => FaultKind::Status,
            Fault::AppliedThen(_) => FaultKind::AppliedThen,
            Fault::Reset => FaultKind::Reset,
            Fault::AppliedThenReset => FaultKind::AppliedThenReset,
            Fault::Hang => FaultKind::Hang,
            Fault::AppliedThenHang => FaultKind::AppliedThenHang,
            Fault::Truncated => FaultKind::Truncated,
            Fault::Garbage => FaultKind::Garbage,
            Fault::Replayed => FaultKind::Replayed,
            Fault::RateLimited => FaultKind::RateLimited,
            Fault::ExpiredCredentials => FaultKind::ExpiredCredentials,
            Fault::Foreign => FaultKind::Foreign,
            Fault::Compacted => FaultKind::Compacted,
            Fault::ExpiredSnapshot => FaultKind::ExpiredSnapshot,
        }
    }
}

/// A fault without its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FaultKind {
    Status,
    AppliedThen,
    Reset,
    AppliedThenReset,
    Hang,
    AppliedThenHang,
    Truncated,
    Garbage,
    Replayed,
    RateLimited,
    ExpiredCredentials,
    Foreign,
    Compacted,
    ExpiredSnapshot,
}

impl FaultKind {
    pub(crate) const ALL: [FaultKind; 14] = [
        FaultKind::Status,
        FaultKind::AppliedThen,
        FaultKind::Reset,
        FaultKind::AppliedThenReset,
        FaultKind::Hang,
        FaultKind::AppliedThenHang,
        FaultKind::Truncated,
        FaultKind::Garbage,
        FaultKind::Replayed,
        FaultKind::RateLimited,
        FaultKind::ExpiredCredentials,
        FaultKind::Foreign,
        FaultKind::Compacted,
        FaultKind::ExpiredSnapshot,
    ];

    /// Whether this can happen at `step` and be told from another fault there.
    pub(crate) fn suits(self, step: Step) -> bool {
        match self {
            FaultKind::Status | FaultKind::Reset | FaultKind::Hang | FaultKind::RateLimited => step != Step::Other,
            FaultKind::AppliedThen | FaultKind::AppliedThenReset | FaultKind::AppliedThenHang | FaultKind::Replayed => {
                step.changes_something()
            }
            FaultKind::Truncated => step.answers_with_text() || step == Step::Get,
            // Nobody could tell the garbage of an object from the object.
            FaultKind::Garbage => step.answers_with_text(),
            FaultKind::ExpiredCredentials => ![Step::Token, Step::Other].contains(&step),
            FaultKind::Foreign | FaultKind::Compacted | FaultKind::ExpiredSnapshot => {
                [Step::Load, Step::Commit].contains(&step)
            }
        }
    }

    /// The fault with this status, if it has one.
    pub(crate) fn with_status(self, status: u16) -> Fault {
        match self {
            FaultKind::Status => Fault::Status(status),
            FaultKind::AppliedThen => Fault::AppliedThen(status),
            FaultKind::Reset => Fault::Reset,
            FaultKind::AppliedThenReset => Fault::AppliedThenReset,
            FaultKind::Hang => Fault::Hang,
            FaultKind::AppliedThenHang => Fault::AppliedThenHang,
            FaultKind::Truncated => Fault::Truncated,
            FaultKind::Garbage => Fault::Garbage,
            FaultKind::Replayed => Fault::Replayed,
            FaultKind::RateLimited => Fault::RateLimited,
            FaultKind::ExpiredCredentials => Fault::ExpiredCredentials,
            FaultKind::Foreign => Fault::Foreign,
            FaultKind::Compacted => Fault::Compacted,
            FaultKind::ExpiredSnapshot => Fault::ExpiredSnapshot,
        }
    }
}

/// How often each fault met each step. Those of many runs add up to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) cells: BTreeMap<(Step, FaultKind), usize>,
}

impl Met {
    pub(crate) fn add(&mut self, other: &Met) {
        for (cell, times) in &other.cells {
            *self.cells.entry(*cell).or_default() += times;
        }
    }

    /// Steps down, faults across; `-` where a fault cannot meet a step.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:<12}", "");
        for kind in FaultKind::ALL {
            let _ = write!(table, " {:>18}", format!("{kind:?}"));
        }
        for step in Step::ALL {
            let _ = write!(table, "\n{:<12}", format!("{step:?}"));
            for kind in FaultKind::ALL {
                let times = self.cells.get(&(step, kind)).copied().unwrap_or_default();
                let cell = if kind.suits(step) { times.to_string() } else { "-".to_owned() };
                let _ = write!(table, " {cell:>18}");
            }
        }
        table
    }

    /// The steps that a fault could have met and did not.
    pub(crate) fn empty_cells(&self) -> Vec<(Step, FaultKind)> {
        let all = Step::ALL.into_iter().flat_map(|step| FaultKind::ALL.map(|kind| (step, kind)));
        all.filter(|(step, kind)| kind.suits(*step) && !self.cells.contains_key(&(*step, *kind))).collect()
    }
}

/// The faults to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    scripted: BTreeMap<Step, VecDeque<Fault>>,
    random: Option<Random>,
    pub(super) met: Met,
}

/// One stream of numbers per step, so that what meets a step does not depend on what other steps run beside it.
#[derive(Debug)]
struct Random {
    seed: u64,
    per_mille: u32,
    streams: BTreeMap<Step, StdRng>,
}

impl Faults {
    pub(super) fn script(&mut self, step: Step, fault: Fault) {
        assert!(fault.kind().suits(step), "{fault:?} cannot meet {step:?}");
        self.scripted.entry(step).or_default().push_back(fault);
    }

    pub(super) fn scripted_left(&self) -> usize {
        self.scripted.values().map(VecDeque::len).sum()
    }

    /// No more than `per_mille` of 1000 requests meet a fault; with 0, only scripted ones do.
    pub(super) fn randomize(&mut self, seed: u64, per_mille: u32) {
        self.random = (per_mille > 0).then(|| Random { seed, per_mille, streams: BTreeMap::new() });
    }

    /// The fault of the next request at `step`: scripted ones first, in order. A drawn fault is none that `spares`.
    pub(super) fn next(&mut self, step: Step, spares: impl Fn(FaultKind) -> bool) -> Option<Fault> {
        if let Some(fault) = self.scripted.get_mut(&step).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        let Random { seed, per_mille, streams } = self.random.as_mut()?;
        let stream = streams.entry(step).or_insert_with(|| StdRng::seed_from_u64(*seed ^ ((step as u64) << 48)));
        // Always the same draws, so that a request that is spared does not shift the ones after it.
        let (hit, kind, status) = (stream.random_ratio(*per_mille, 1_000), stream.random(), stream.random());
        let kinds: Vec<FaultKind> = FaultKind::ALL.into_iter().filter(|kind| kind.suits(step)).collect();
        let kind = *kinds.choose(&mut StdRng::seed_from_u64(kind))?;
        let status = *[500, 502, 503, 504].choose(&mut StdRng::seed_from_u64(status))?;
        (hit && !spares(kind)).then(|| kind.with_status(status))
    }

    pub(super) fn note(&mut self, step: Step, fault: Fault) {
        *self.met.cells.entry((step, fault.kind())).or_default() += 1;
    }
}
