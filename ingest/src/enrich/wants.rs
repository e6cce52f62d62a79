//! What an event leaves for the server to say.

use std::net::IpAddr;

/// Whose address tells where the sender of an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The sender wants none known, or named one that is no address.
    #[default]
    Nobodys,
    /// That of the request's client.
    Clients,
    /// The one that the event names: of the visitor for whom a server sends.
    Own(IpAddr),
}

impl Whose {
    /// `named` is what the event names, if anything.
    pub(crate) fn of_event(named: Option<Option<&str>>) -> Whose {
        match named {
            None => Whose::Clients,
            Some(text) => match text.and_then(|text| text.trim().parse::<IpAddr>().ok()) {
                Some(ip) => Whose::Own(ip.to_canonical()),
                None => Whose::Nobodys,
            },
        }
    }
}

/// What enrichment may add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// `$ip`
    pub(crate) ip: bool,
    pub(crate) of: Whose,
    /// `$geoip_*` and `cf_metro_code`
    pub(crate) place: bool,
    /// `cf_asn` and `cf_as_organization`
    pub(crate) network: bool,
    /// `cf_ray`
    pub(crate) ray: bool,
    /// `cf_colo`
    pub(crate) colo: bool,
}
