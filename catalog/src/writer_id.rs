//! The identity of a writer: one log folder.

use uuid::Uuid;

use crate::tables::Slot;

/// Drawn when a log folder is created and kept in it; a copied folder is fenced by its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterId {
    text: String,
}

impl WriterId {
    pub fn new(id: Uuid) -> WriterId {
        WriterId { text: id.simple().to_string() }
    }

    /// All 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the column `_writer` holds: 16 hexadecimal digits, `-late` behind them for the late slot.
    pub fn slot_id(&self, slot: Slot) -> String {
        match slot {
            Slot::Main => self.text[..16].to_owned(),
            Slot::Late => format!("{}-late", &self.text[..16]),
        }
    }

    /// Name of the table property that holds this writer's watermark.
    pub fn watermark_property(&self, slot: Slot) -> String {
        match slot {
            Slot::Main => format!("hogflare.wm.{}", self.text),
            Slot::Late => format!("hogflare.wm.{}-late", self.text),
        }
    }

    /// Name of the table property that says which start of this writer owns its slots.
    pub fn claim_property(&self) -> String {
        format!("hogflare.claim.{}", self.text)
    }

    /// The slot id of whom a watermark property belongs to; none for other properties.
    pub fn slot_id_of_property(name: &str) -> Option<String> {
        let id = name.strip_prefix("hogflare.wm.")?;
        let (digits, slot) = id.split_at_checked(32)?;
        let is_id = digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && ["", "-late"].contains(&slot);
        is_id.then(|| format!("{}{slot}", &digits[..16]))
    }

    /// The first eight digits, for object names.
    pub fn short(&self) -> &str {
        &self.text[..8]
    }
}
