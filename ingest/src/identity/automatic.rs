//! Properties that an event gives its person without being asked: as they are now, and as they were first
//! (`$initial_…`). The list is PostHog's.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Names as on events. What begins with `$` is kept under `$initial_<rest>`, all else under
/// `$initial_<name>`. Their places are bits in the state file: more go to the end.
pub(crate) const AUTOMATIC: [&str; 59] = [
    "$app_build",
    "$app_name",
    "$app_namespace",
    "$app_version",
    "$browser",
    "$browser_version",
    "$device_type",
    "$current_url",
    "$pathname",
    "$os",
    "$os_name",
    "$os_version",
    "$referring_domain",
    "$referrer",
    "$screen_height",
    "$screen_width",
    "$viewport_height",
    "$viewport_width",
    "$raw_user_agent",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_name",
    "utm_term",
    "gclid",
    "gad_source",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "twclid",
    "li_fat_id",
    "mc_cid",
    "igshid",
    "ttclid",
    "rdt_cid",
    "epik",
    "qclid",
    "sccid",
    "irclid",
    "_kx",
    "$geoip_city_name",
    "$geoip_city_confidence",
    "$geoip_subdivision_1_name",
    "$geoip_subdivision_1_code",
    "$geoip_subdivision_2_name",
    "$geoip_subdivision_2_code",
    "$geoip_country_name",
    "$geoip_country_code",
    "$geoip_continent_name",
    "$geoip_continent_code",
    "$geoip_postal_code",
    "$geoip_latitude",
    "$geoip_longitude",
    "$geoip_accuracy_radius",
    "$geoip_time_zone",
];

static INDEX: LazyLock<HashMap<&'static str, Automatic>> =
    LazyLock::new(|| (0..).zip(AUTOMATIC).map(|(index, name)| (name, Automatic(index))).collect());

static INITIAL: LazyLock<HashMap<String, Automatic>> =
    LazyLock::new(|| Automatic::all().map(|automatic| (automatic.initial_name(), automatic)).collect());

/// One of [`AUTOMATIC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Automatic(u8);

impl Automatic {
    pub(crate) fn of(name: &str) -> Option<Automatic> {
        INDEX.get(name).copied()
    }

    pub(crate) fn all() -> impl Iterator<Item = Automatic> {
        (0..).map(Automatic).take(AUTOMATIC.len())
    }

    /// Of the name that the first value is kept under.
    pub(crate) fn of_initial(name: &str) -> Option<Automatic> {
        name.starts_with("$initial_").then(|| INITIAL.get(name).copied())?
    }

    pub(crate) fn name(self) -> &'static str {
        AUTOMATIC[usize::from(self.0)]
    }

    pub(crate) fn initial_name(self) -> String {
        format!("$initial_{}", self.name().trim_start_matches('$'))
    }

    pub(crate) fn bit(self) -> u64 {
        const { assert!(AUTOMATIC.len() < 64) };
        1 << self.0
    }
}

/// Whether a change of only this property is no reason to write the person: such change from page to page.
pub(crate) fn is_volatile(name: &str) -> bool {
    name.starts_with("$geoip_") || INDEX.contains_key(name)
}
