//! One pass over the properties of an event: those that have a column, and those that steer us.

use std::sync::LazyLock;

use crate::identity::Automatic;
use crate::properties::Object;
use crate::protocol::json::Json;

/// A column that is filled from properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    SessionId,
    WindowId,
    CurrentUrl,
    Pathname,
    Host,
    PageTitle,
    Referrer,
    ReferringDomain,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    UtmContent,
    UtmTerm,
    Browser,
    BrowserVersion,
    Os,
    OsVersion,
    DeviceType,
    Lib,
    LibVersion,
    Country,
    Region,
    City,
    Timezone,
    CfColo,
    CfAsn,
}

impl Column {
    pub(crate) const COUNT: usize = Column::CfAsn as usize + 1;

    pub(crate) const ALL: [Column; Column::COUNT] = {
        use Column::*;
        [
            SessionId,
            WindowId,
            CurrentUrl,
            Pathname,
            Host,
            PageTitle,
            Referrer,
            ReferringDomain,
            UtmSource,
            UtmMedium,
            UtmCampaign,
            UtmContent,
            UtmTerm,
            Browser,
            BrowserVersion,
            Os,
            OsVersion,
            DeviceType,
            Lib,
            LibVersion,
            Country,
            Region,
            City,
            Timezone,
            CfColo,
            CfAsn,
        ]
    };
}

/// A property that decides about the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    DistinctId,
    Ip,
    Groups,
    ProcessPersonProfile,
    IgnoreSentAt,
    Alias,
    GroupType,
    GroupKey,
    Set,
    SetOnce,
    Unset,
    AnonDistinctId,
    GroupSet,
    GeoipDisable,
    CookielessMode,
}

impl Special {
    const COUNT: usize = Special::CookielessMode as usize + 1;

    /// The property.
    pub(crate) fn name(self) -> &'static str {
        let found = KNOWN.iter().find(|(_, known)| matches!(known, Known::Special(special) if *special == self));
        found.map_or("", |(name, _)| *name)
    }
}

#[derive(Clone, Copy, Debug)]
enum Known {
    /// The number is the rank among the properties that may fill the column: the lowest wins.
    Column(Column, u8),
    Special(Special),
}

const KNOWN: &[(&str, Known)] = {
    use Column::*;
    use Known::{Column as To, Special as Is};
    use Special::*;
    &[
        ("$session_id", To(SessionId, 0)),
        ("session_id", To(SessionId, 1)),
        ("$window_id", To(WindowId, 0)),
        ("window_id", To(WindowId, 1)),
        ("$current_url", To(CurrentUrl, 0)),
        ("current_url", To(CurrentUrl, 1)),
        ("url", To(CurrentUrl, 2)),
        ("$pathname", To(Pathname, 0)),
        ("pathname", To(Pathname, 1)),
        ("path", To(Pathname, 2)),
        ("$host", To(Host, 0)),
        ("host", To(Host, 1)),
        ("$title", To(PageTitle, 0)),
        ("title", To(PageTitle, 1)),
        ("page_title", To(PageTitle, 2)),
        ("$referrer", To(Referrer, 0)),
        ("referrer", To(Referrer, 1)),
        ("$referring_domain", To(ReferringDomain, 0)),
        ("utm_source", To(UtmSource, 0)),
        ("$utm_source", To(UtmSource, 1)),
        ("utm_medium", To(UtmMedium, 0)),
        ("$utm_medium", To(UtmMedium, 1)),
        ("utm_campaign", To(UtmCampaign, 0)),
        ("$utm_campaign", To(UtmCampaign, 1)),
        ("utm_content", To(UtmContent, 0)),
        ("$utm_content", To(UtmContent, 1)),
        ("utm_term", To(UtmTerm, 0)),
        ("$utm_term", To(UtmTerm, 1)),
        ("$browser", To(Browser, 0)),
        ("$browser_version", To(BrowserVersion, 0)),
        ("$os", To(Os, 0)),
        ("$os_name", To(Os, 1)),
        ("$os_version", To(OsVersion, 0)),
        ("$device_type", To(DeviceType, 0)),
        ("$lib", To(Lib, 0)),
        ("$lib_version", To(LibVersion, 0)),
        ("$geoip_country_code", To(Country, 0)),
        ("country_code", To(Country, 1)),
        ("$geoip_subdivision_1_name", To(Region, 0)),
        ("$geoip_subdivision_1_code", To(Region, 1)),
        ("$geoip_city_name", To(City, 0)),
        ("$geoip_time_zone", To(Timezone, 0)),
        ("$timezone", To(Timezone, 1)),
        ("cf_colo", To(CfColo, 0)),
        ("cf_asn", To(CfAsn, 0)),
        ("distinct_id", Is(DistinctId)),
        ("$ip", Is(Ip)),
        ("$groups", Is(Groups)),
        ("$process_person_profile", Is(ProcessPersonProfile)),
        ("$ignore_sent_at", Is(IgnoreSentAt)),
        ("alias", Is(Alias)),
        ("$group_type", Is(GroupType)),
        ("$group_key", Is(GroupKey)),
        ("$set", Is(Set)),
        ("$set_once", Is(SetOnce)),
        ("$unset", Is(Unset)),
        ("$anon_distinct_id", Is(AnonDistinctId)),
        ("$group_set", Is(GroupSet)),
        ("$geoip_disable", Is(GeoipDisable)),
        ("$cookieless_mode", Is(CookielessMode)),
    ]
};

const KEY_BYTES_MAX: usize = 32;

/// What a key means; both may be.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    key: &'static str,
    known: Option<Known>,
    automatic: Option<Automatic>,
}

/// Known keys by length: a handful of comparisons for each property.
static BY_LENGTH: LazyLock<[Vec<Meaning>; KEY_BYTES_MAX]> = LazyLock::new(|| {
    let mut by_length: [Vec<Meaning>; KEY_BYTES_MAX] = Default::default();
    for (key, known) in KNOWN {
        by_length[key.len()].push(Meaning { key, known: Some(*known), automatic: Automatic::of(key) });
    }
    for automatic in Automatic::all() {
        let bucket = &mut by_length[automatic.name().len()];
        if bucket.iter().all(|meaning| meaning.key != automatic.name()) {
            bucket.push(Meaning { key: automatic.name(), known: None, automatic: Some(automatic) });
        }
    }
    by_length
});

/// What enrichment would add as a whole, where the event says something of it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) place: bool,
    pub(crate) network: bool,
    pub(crate) ray: bool,
    pub(crate) colo: bool,
}

impl Own {
    fn note(&mut self, key: &str) {
        match key.as_bytes() {
            [b'$', b'g', ..] if key.starts_with("$geoip_") && key != "$geoip_disable" => self.place = true,
            [b'c', b'f', b'_', ..] => match key {
                "cf_metro_code" => self.place = true,
                "cf_asn" | "cf_as_organization" => self.network = true,
                "cf_ray" => self.ray = true,
                "cf_colo" => self.colo = true,
                _ => {}
            },
            _ => {}
        }
    }
}

/// What one pass found.
#[derive(Clone, Debug)]
pub(crate) struct Promotion<'a> {
    columns: [Option<Json<'a>>; Column::COUNT],
    specials: [Option<Json<'a>>; Special::COUNT],
    automatic: Vec<(Automatic, Json<'a>)>,
    own: Own,
}

/// Reads the known keys. An object that repeats keys must have been rewritten before.
pub(crate) fn promote<'a>(properties: &'a Object<'_>) -> Promotion<'a> {
    let by_length = &*BY_LENGTH;
    let mut found = Promotion {
        columns: [None; Column::COUNT],
        specials: [None; Special::COUNT],
        automatic: Vec::new(),
        own: Own::default(),
    };
    let mut ranks = [u8::MAX; Column::COUNT];
    for (key, value) in properties.entries() {
        found.own.note(&key);
        let Some(bucket) = by_length.get(key.len()) else { continue };
        let Some(meaning) = bucket.iter().find(|meaning| meaning.key == key) else { continue };
        if let Some(automatic) = meaning.automatic {
            found.automatic.push((automatic, value));
        }
        match meaning.known {
            None => {}
            Some(Known::Special(special)) => found.specials[special as usize] = Some(value),
            Some(Known::Column(column, rank)) => {
                let column = column as usize;
                if rank < ranks[column] && is_scalar(value) {
                    ranks[column] = rank;
                    found.columns[column] = Some(value);
                }
            }
        }
    }
    found
}

fn is_scalar(value: Json<'_>) -> bool {
    !value.is_null() && !value.is_object() && !value.is_array()
}

impl<'a> Promotion<'a> {
    /// The property that fills the column: a string, number or boolean.
    pub(crate) fn column(&self, column: Column) -> Option<Json<'a>> {
        self.columns[column as usize]
    }

    pub(crate) fn special(&self, special: Special) -> Option<Json<'a>> {
        self.specials[special as usize]
    }

    /// Properties that the person gets without being asked.
    pub(crate) fn automatic(&self) -> &[(Automatic, Json<'a>)] {
        &self.automatic
    }

    pub(crate) fn own(&self) -> Own {
        self.own
    }
}

/// The referring domain to show: of the property, else of the referrer; nothing for a direct visit and
/// for the own host.
pub(crate) fn referring_domain<'a>(
    property: Option<&'a str>,
    referrer: Option<&'a str>,
    own_host: Option<&str>,
) -> Option<&'a str> {
    let domain = property.or_else(|| referrer.and_then(host_of))?;
    let is_own = own_host.is_some_and(|host| host.eq_ignore_ascii_case(domain));
    (domain != "$direct" && !domain.is_empty() && !is_own).then_some(domain)
}

/// Host and port of a URL.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    Some(authority.rsplit('@').next().unwrap_or(authority))
}

#[cfg(test)]
mod tests;
