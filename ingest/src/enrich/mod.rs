//! What only the server knows about an event: the client's address, where that is, whose network it
//! belongs to, and where Cloudflare took the request.
//!
//! [`Known::read`] finds it once for a request, [`enrich`] adds it to the events. An event's own keys
//! win, also when they are null. Where and network are taken as a whole or not at all: an event that
//! says anything of them itself gets nothing, so that two places are never mixed.

mod files;
mod headers;
mod keys;
mod records;
mod wants;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

pub use files::{GeoFileError, GeoFiles, GeoPaths};
pub(crate) use wants::{Wants, Whose};

use crate::event::CapturedEvent;
use crate::identity::Automatic;
use crate::text::TextRef;
use files::Databases;
use headers::FromHeaders;
use keys::{Block, ColumnText, Key, Stated};

/// Most that enrichment adds to the texts of an event; normalization leaves that room.
pub(crate) const ADDED_BYTES_MAX: usize = keys::ALL_BYTES_MAX + r#","$ip":"""#.len() + IP_TEXT_BYTES_MAX;
/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const IP_TEXT_BYTES_MAX: usize = 45;

/// Which headers count.
#[derive(Clone, Debug, Default)]
pub struct EnrichSettings {
    /// Every request comes through Cloudflare, so that its `CF-*` headers are Cloudflare's.
    pub trust_cloudflare: bool,
    /// Header with the number of the client's network, in lower case.
    pub asn_header: Option<String>,
    /// Header with the name of the organization that runs it, in lower case.
    pub as_organization_header: Option<String>,
}

/// What is known about the client of a request, as text that goes into its events.
#[derive(Clone, Debug, Default)]
pub struct Known {
    client: Option<IpAddr>,
    ip: Block,
    located: Located,
    ray: Block,
    colo: Block,
    /// For events that name another address.
    databases: Arc<Databases>,
}

/// What an address tells.
#[derive(Clone, Debug, Default)]
struct Located {
    place: Block,
    network: Block,
    asn: Option<i64>,
    /// What the person of an event gets of the place: where the values stand in its members.
    automatic: Vec<(Automatic, Range<usize>)>,
}

impl Known {
    /// `header` gives the bytes of a header by its name in lower case.
    pub fn read<'h>(
        settings: &EnrichSettings,
        files: &GeoFiles,
        client: Option<IpAddr>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Known {
        let client = client.map(|ip| ip.to_canonical());
        let databases = files.current();
        let stated = FromHeaders::read(settings, &header);
        let located = match client {
            Some(ip) if !is_public(ip) => Located::default(),
            Some(ip) => Located::new(
                merged_place(stated.place, databases.place(ip)),
                merged_network(stated.network, databases.network(ip)),
            ),
            None => Located::new(stated.place, stated.network),
        };
        let (ray, colo) = (stated.ray.block(), stated.colo.block());
        Known { client, ip: client.map(ip_block).unwrap_or_default(), located, ray, colo, databases }
    }

    /// The address alone.
    pub fn of_client(client: Option<IpAddr>) -> Known {
        Known::read(&EnrichSettings::default(), &GeoFiles::default(), client, |_| None)
    }
}

impl Located {
    fn new(place: Stated, network: Stated) -> Located {
        let block = place.block();
        let automatic = place.iter().filter_map(|(key, json)| {
            // Quotes inside of values are escaped, so this is the key.
            let quoted = format!("\"{}\":", key.name());
            let start = block.members.find(&quoted)? + quoted.len();
            Some((Automatic::of(key.name())?, start..start + json.len()))
        });
        Located {
            automatic: automatic.collect(),
            place: block,
            asn: network.get(Key::Asn).and_then(|asn| asn.parse().ok()),
            network: network.block(),
        }
    }

    fn of(ip: IpAddr, databases: &Databases) -> Located {
        if !is_public(ip) {
            return Located::default();
        }
        Located::new(databases.place(ip), databases.network(ip))
    }
}

/// Adds what is known to the events that want it. A second call adds nothing.
pub fn enrich(events: &mut [CapturedEvent], known: &Known) {
    // The events of a server name few addresses, and mostly one after the other.
    let mut elsewhere: Option<(IpAddr, Located)> = None;
    for event in events {
        let wants = std::mem::take(&mut event.wants);
        if wants.ip {
            add(event, &known.ip);
        }
        let located = match wants.of {
            Whose::Nobodys => None,
            Whose::Clients => Some(&known.located),
            Whose::Own(ip) if Some(ip) == known.client => Some(&known.located),
            Whose::Own(ip) => {
                if elsewhere.as_ref().is_none_or(|(last, _)| *last != ip) {
                    elsewhere = Some((ip, Located::of(ip, &known.databases)));
                }
                elsewhere.as_ref().map(|(_, located)| located)
            }
        };
        if let Some(located) = located {
            if wants.place
                && let Some(offset) = add(event, &located.place)
            {
                event.note_place(offset, &located.automatic);
            }
            if wants.network {
                add(event, &located.network);
                event.cf_asn = located.asn;
            }
        }
        if wants.ray {
            add(event, &known.ray);
        }
        if wants.colo {
            add(event, &known.colo);
        }
    }
}

/// Properties that are added later count for columns like those that were sent: `$geoip_time_zone` comes
/// before `$timezone`, wherever they are from. Returns where the members stand in the properties.
fn add(event: &mut CapturedEvent, block: &Block) -> Option<usize> {
    if block.members.is_empty() {
        return None;
    }
    let offset = event.texts.splice_members(&block.members);
    for (column, text) in &block.columns {
        event.columns[*column as usize] = match text {
            ColumnText::Members { start, length } => TextRef::in_properties(offset + start, *length),
            ColumnText::Own(text) => event.texts.push(text),
        };
    }
    Some(offset)
}

fn ip_block(ip: IpAddr) -> Block {
    Block { members: format!(r#""$ip":"{ip}""#), columns: Vec::new() }
}

/// Keys that a file may still state when a header has told the place more closely than it could agree.
const OF_COUNTRY: [Key; 4] = [Key::CountryName, Key::CountryCode, Key::ContinentName, Key::ContinentCode];
const OF_PLACE: [Key; 6] =
    [Key::CityName, Key::Subdivision1Name, Key::Subdivision1Code, Key::PostalCode, Key::Latitude, Key::Longitude];

/// Headers win. A file that knows another country is not believed at all, and beside a place from
/// headers it only tells the country.
fn merged_place(mut stated: Stated, looked_up: Stated) -> Stated {
    let countries = (stated.get(Key::CountryCode), looked_up.get(Key::CountryCode));
    if matches!(countries, (Some(one), Some(other)) if one != other) {
        return stated;
    }
    let has_place = stated.has_any(&OF_PLACE);
    stated.fill_from(looked_up, |key| !has_place || OF_COUNTRY.contains(&key));
    stated
}

/// Headers win. The name in a file belongs to the number in the file.
fn merged_network(mut stated: Stated, looked_up: Stated) -> Stated {
    let is_other = stated.get(Key::Asn).is_some_and(|asn| looked_up.get(Key::Asn) != Some(asn));
    if !is_other {
        stated.fill_from(looked_up, |_| true);
    }
    stated
}

/// Whether an address can be somewhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_local = ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared;
            let is_special = first == 0 || ip.is_multicast() || ip.is_broadcast();
            !is_special && !is_local
        }
        IpAddr::V6(ip) => {
            let is_special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
            let is_local = ip.is_unique_local() || ip.is_unicast_link_local();
            !is_special && !is_local
        }
    }
}

#[cfg(test)]
mod tests;
