//! The scripts of posthog-js, as `build.rs` found them: compressed, one table.

use std::io::Read;

use flate2::read::GzDecoder;

/// One script.
#[derive(Debug)]
pub(super) struct Bundle {
    /// File name without `.js`.
    pub(super) name: &'static str,
    /// Weak entity tag: the bytes sent depend on what the caller accepts.
    pub(super) tag: &'static str,
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundles.rs"));

/// Whether npm was there when this binary was built.
pub(super) fn are_built_in() -> bool {
    !EMBEDDED.is_empty()
}

/// Release of posthog-js; empty without bundles.
pub(super) fn version() -> &'static str {
    VERSION
}

pub(super) fn find(name: &str) -> Option<&'static Bundle> {
    let at = EMBEDDED.binary_search_by_key(&name, |bundle| bundle.name).ok()?;
    Some(&EMBEDDED[at])
}

impl Bundle {
    pub(super) fn gzip(&self) -> &'static [u8] {
        self.gzip
    }

    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.gzip.len() * 4);
        GzDecoder::new(self.gzip).read_to_end(&mut text).expect("memory, written by our own build");
        text
    }
}
