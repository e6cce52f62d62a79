//! A normalized request as the writer takes it.

use hogflare_catalog::Slot;
use hogflare_catalog::tables::{DeadLetterRow, EventRow};

use crate::identity::IdentityEvent;
use crate::normalize::Normalized;
use crate::writer::Batch;

impl Batch for Normalized {
    fn events(&self) -> usize {
        self.events.len()
    }

    fn event(&self, index: usize) -> EventRow<'_> {
        self.events[index].as_row()
    }

    fn slot(&self, index: usize) -> Slot {
        self.events[index].slot
    }

    fn identity(&self, index: usize) -> Option<IdentityEvent<'_>> {
        Some(self.events[index].identity())
    }

    fn has_own_uuid(&self, index: usize) -> bool {
        self.events[index].uuid_is_clients
    }

    fn dead_letters(&self) -> usize {
        self.rejected.len()
    }

    fn dead_letter(&self, index: usize) -> DeadLetterRow<'_> {
        self.rejected[index].as_row()
    }
}
