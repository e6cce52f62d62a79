//! How much was asked of the fake, by whom.

use std::collections::BTreeMap;

use super::fault::Step;

/// Who asks. Only requests over HTTP cost the clients under test anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    /// Whoever sends requests.
    Wire,
    /// The catalog itself, when it writes metadata files.
    Catalog,
    /// The other writer of the faults, beside the requests.
    Foreign,
}

/// Requests with the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) requests: usize,
    pub(crate) bytes_up: usize,
    pub(crate) bytes_down: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) traffic: BTreeMap<(Client, Step), Traffic>,
}

impl Counts {
    pub(crate) fn of(&self, client: Client, step: Step) -> Traffic {
        self.traffic.get(&(client, step)).copied().unwrap_or_default()
    }

    /// Requests over HTTP at a step.
    pub(crate) fn requests(&self, step: Step) -> usize {
        self.of(Client::Wire, step).requests
    }

    pub(super) fn note(&mut self, client: Client, step: Step, bytes_up: usize, bytes_down: usize) {
        let traffic = self.traffic.entry((client, step)).or_default();
        traffic.requests += 1;
        traffic.bytes_up += bytes_up;
        traffic.bytes_down += bytes_down;
    }
}
