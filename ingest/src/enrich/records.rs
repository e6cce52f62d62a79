//! Records of databases in MaxMind's format, as far as we use them.
//!
//! Fields: dev.maxmind.com/geoip/docs/databases. Others than MaxMind write the same fields with numbers of
//! other widths, so any number will do.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::keys::{Key, Stated};

/// Of city, country and enterprise databases.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PlaceRecord<'a> {
    #[serde(borrow)]
    city: Named<'a>,
    #[serde(borrow)]
    continent: Named<'a>,
    #[serde(borrow)]
    country: Named<'a>,
    #[serde(borrow)]
    location: Location<'a>,
    #[serde(borrow)]
    postal: Named<'a>,
    /// From the largest to the smallest.
    #[serde(borrow)]
    subdivisions: Vec<Named<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    confidence: Option<Number>,
    /// Of continents and postal codes.
    code: Option<&'a str>,
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location<'a> {
    accuracy_radius: Option<Number>,
    latitude: Option<Number>,
    longitude: Option<Number>,
    time_zone: Option<&'a str>,
}

/// Of ASN and ISP databases.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkRecord<'a> {
    autonomous_system_number: Option<Number>,
    autonomous_system_organization: Option<&'a str>,
}

impl PlaceRecord<'_> {
    pub(super) fn stated(&self) -> Stated {
        let (first, second) = (self.subdivisions.first(), self.subdivisions.get(1));
        let texts = [
            (Key::CityName, self.city.names.en),
            (Key::Subdivision1Name, first.and_then(|division| division.names.en)),
            (Key::Subdivision1Code, first.and_then(|division| division.iso_code)),
            (Key::Subdivision2Name, second.and_then(|division| division.names.en)),
            (Key::Subdivision2Code, second.and_then(|division| division.iso_code)),
            (Key::CountryName, self.country.names.en),
            (Key::CountryCode, self.country.iso_code),
            (Key::ContinentName, self.continent.names.en),
            (Key::ContinentCode, self.continent.code),
            (Key::PostalCode, self.postal.code),
            (Key::TimeZone, self.location.time_zone),
        ];
        let numbers = [
            (Key::CityConfidence, &self.city.confidence),
            (Key::Latitude, &self.location.latitude),
            (Key::Longitude, &self.location.longitude),
            (Key::AccuracyRadius, &self.location.accuracy_radius),
        ];
        stated(&texts, &numbers)
    }
}

impl NetworkRecord<'_> {
    pub(super) fn stated(&self) -> Stated {
        stated(
            &[(Key::AsOrganization, self.autonomous_system_organization)],
            &[(Key::Asn, &self.autonomous_system_number)],
        )
    }
}

fn stated(texts: &[(Key, Option<&str>)], numbers: &[(Key, &Option<Number>)]) -> Stated {
    let mut stated = Stated::default();
    for (key, text) in texts {
        stated.text(*key, text.unwrap_or_default());
    }
    for (key, number) in numbers {
        if let Some(Number(number)) = number {
            stated.number(*key, *number);
        }
    }
    stated
}

/// A number of any width.
#[derive(Clone, Copy, Debug)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(number))
    }
}
