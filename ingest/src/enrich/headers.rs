//! What headers of a trusted front say about the client.
//!
//! Cloudflare: `CF-IPCountry`, `CF-Ray`, and those of the managed transform "Add visitor location
//! headers" (developers.cloudflare.com/rules/transform/managed-transforms/reference). Number and name of
//! the network come in no header of its own; a transform rule can set any.

use super::EnrichSettings;
use super::keys::{Key, Stated};

/// Headers of texts that are taken as they are.
const PLACE: [(&str, Key); 8] = [
    ("cf-ipcity", Key::CityName),
    ("cf-region", Key::Subdivision1Name),
    ("cf-region-code", Key::Subdivision1Code),
    ("cf-ipcontinent", Key::ContinentCode),
    ("cf-postal-code", Key::PostalCode),
    ("cf-timezone", Key::TimeZone),
    ("cf-metro-code", Key::MetroCode),
    ("cf-ipcountry", Key::CountryCode),
];

/// What one request's headers state, by what has to be taken together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FromHeaders {
    pub(super) place: Stated,
    pub(super) network: Stated,
    pub(super) ray: Stated,
    pub(super) colo: Stated,
}

impl FromHeaders {
    /// `header` gives the bytes of a header by its name in lower case.
    pub(super) fn read<'h>(settings: &EnrichSettings, header: &impl Fn(&str) -> Option<&'h [u8]>) -> FromHeaders {
        let mut found = FromHeaders::default();
        if settings.trust_cloudflare {
            found.read_place(header);
            found.read_ray(header);
        }
        let named = |name: &Option<String>| name.as_deref().and_then(header).map(text);
        if let Some(asn) = named(&settings.asn_header).as_deref().and_then(parse_asn) {
            found.network.number(Key::Asn, f64::from(asn));
        }
        if let Some(organization) = named(&settings.as_organization_header) {
            found.network.text(Key::AsOrganization, &organization);
        }
        found
    }

    fn read_place<'h>(&mut self, header: &impl Fn(&str) -> Option<&'h [u8]>) {
        for (name, key) in PLACE {
            let Some(text) = header(name).map(text) else { continue };
            if key != Key::CountryCode {
                self.place.text(key, &text);
            } else if is_country(&text) {
                self.place.text(key, &text.to_ascii_uppercase());
            }
        }
        for (name, key, degrees_max) in
            [("cf-iplatitude", Key::Latitude, 90.0), ("cf-iplongitude", Key::Longitude, 180.0)]
        {
            let number = header(name).and_then(|bytes| text(bytes).trim().parse::<f64>().ok());
            if let Some(number) = number.filter(|number| number.abs() <= degrees_max) {
                self.place.number(key, number);
            }
        }
    }

    /// `<hexadecimal id>-<airport>`; the airport is absent where Cloudflare itself asks.
    fn read_ray<'h>(&mut self, header: &impl Fn(&str) -> Option<&'h [u8]>) {
        let Some(ray) = header("cf-ray").map(text) else { return };
        self.ray.text(Key::Ray, &ray);
        if let Some((_, colo)) = ray.trim().rsplit_once('-') {
            self.colo.text(Key::Colo, colo);
        }
    }
}

/// Two letters; `XX` is unknown and `T1` is Tor.
fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) && !code.eq_ignore_ascii_case("XX")
}

/// `13335` or `AS13335`.
fn parse_asn(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.get(..2).filter(|start| start.eq_ignore_ascii_case("AS")).map_or(text, |_| &text[2..]);
    digits.parse().ok().filter(|asn| *asn != 0)
}

/// A header's text. Cloudflare sends the bytes of UTF-8. Its documentation writes such a byte `\u00c3`,
/// and functions in between write it `%C3`, so these forms are read too; what is no UTF-8 is Latin-1.
fn text(bytes: &[u8]) -> String {
    let bytes: Vec<u8> = percent_encoding::percent_decode(bytes).collect();
    let bytes = unescaped(&bytes);
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

/// `\u00XX` as the byte, and any other `\uXXXX` as the character.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match escape(rest) {
            Some(code @ 0..=0xff) => out.push(code as u8),
            Some(code) => out.extend(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).to_string().bytes()),
            None => out.push(*first),
        }
        rest = if escape(rest).is_some() { &rest[6..] } else { after };
    }
    out
}

fn escape(bytes: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(bytes.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, 16).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &EnrichSettings, headers: &[(&str, &[u8])]) -> FromHeaders {
        let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        FromHeaders::read(settings, &header)
    }

    fn stated(stated: &Stated) -> String {
        stated.iter().map(|(key, json)| format!("{}={json} ", key.name())).collect()
    }

    #[test]
    fn names_are_read_in_every_usual_encoding() {
        for (bytes, expected) in [
            (&b"Berlin"[..], "Berlin"),
            ("São Paulo".as_bytes(), "São Paulo"),
            (b"S\\u00c3\\u00a3o Paulo", "São Paulo"),
            (b"S%C3%A3o%20Paulo", "São Paulo"),
            (b"M\xfcnsingen", "Münsingen"),
            (b"M\\u00fcnsingen", "Münsingen"),
            (b"\\u017dilina", "Žilina"),
            (b"100% \\u", "100% \\u"),
            (b"\\ud800", "\u{fffd}"),
            (b"\\u+0c3", "\\u+0c3"),
            (b"", ""),
        ] {
            assert_eq!(text(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn cloudflares_headers_become_properties() {
        let trusting = EnrichSettings { trust_cloudflare: true, ..EnrichSettings::default() };
        for (headers, place, ray) in [
            (&[("cf-ipcountry", &b"DE"[..])][..], "$geoip_country_code=\"DE\" ", ""),
            (&[("cf-ipcountry", b"XX")], "", ""),
            (&[("cf-ipcountry", b"T1")], "", ""),
            (&[("cf-ipcountry", b"Germany")], "", ""),
            (&[("cf-ray", b"230b030023ae2822-SJC")], "", "cf_ray=\"230b030023ae2822-SJC\" cf_colo=\"SJC\" "),
            (&[("cf-ray", b"230b030023ae2822")], "", "cf_ray=\"230b030023ae2822\" "),
            (
                &[("cf-iplatitude", b"52.51960"), ("cf-iplongitude", b"-13.4069")],
                "$geoip_latitude=52.5196 $geoip_longitude=-13.4069 ",
                "",
            ),
            (&[("cf-iplatitude", b"91"), ("cf-iplongitude", b"NaN")], "", ""),
            (
                &[
                    ("cf-ipcity", b"Austin"),
                    ("cf-ipcontinent", b"NA"),
                    ("cf-region", b"Texas"),
                    ("cf-region-code", b"TX"),
                    ("cf-metro-code", b"635"),
                    ("cf-postal-code", b"78701"),
                    ("cf-timezone", b"America/Chicago"),
                ],
                "$geoip_city_name=\"Austin\" $geoip_subdivision_1_name=\"Texas\" $geoip_subdivision_1_code=\"TX\" \
              $geoip_continent_code=\"NA\" $geoip_postal_code=\"78701\" $geoip_time_zone=\"America/Chicago\" \
              cf_metro_code=\"635\" ",
                "",
            ),
        ] {
            let found = read(&trusting, headers);
            assert_eq!(stated(&found.place), place, "{headers:?}");
            assert_eq!(stated(&found.ray) + &stated(&found.colo), ray, "{headers:?}");
            assert_eq!(read(&EnrichSettings::default(), headers), FromHeaders::default(), "{headers:?}");
        }
    }

    #[test]
    fn networks_come_in_the_headers_that_are_named() {
        let settings = EnrichSettings {
            asn_header: Some("x-asn".to_owned()),
            as_organization_header: Some("x-as-name".to_owned()),
            ..EnrichSettings::default()
        };
        for (headers, expected) in [
            (
                &[("x-asn", &b"13335"[..]), ("x-as-name", b"Cloudflare")][..],
                "cf_asn=13335 cf_as_organization=\"Cloudflare\" ",
            ),
            (&[("x-asn", b"as4294967295")], "cf_asn=4294967295 "),
            (&[("x-asn", b"0")], ""),
            (&[("x-asn", b"13.5")], ""),
            (&[("x-asn", b"")], ""),
            (&[("asn", b"1")], ""),
        ] {
            assert_eq!(stated(&read(&settings, headers).network), expected, "{headers:?}");
        }
    }
}
