//! The properties that enrichment adds: names, bounds, columns, and their text.

use crate::promote::Column;
use crate::protocol::json::{self, Json};

/// A property that only the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    CityName,
    CityConfidence,
    Subdivision1Name,
    Subdivision1Code,
    Subdivision2Name,
    Subdivision2Code,
    CountryName,
    CountryCode,
    ContinentName,
    ContinentCode,
    PostalCode,
    Latitude,
    Longitude,
    AccuracyRadius,
    TimeZone,
    MetroCode,
    Asn,
    AsOrganization,
    Ray,
    Colo,
}

/// Bytes of a name of a place or an organization; longer ones are cut.
const NAME_BYTES_MAX: usize = 128;
const CODE_BYTES_MAX: usize = 32;
/// Digits, sign and point of any number that is added.
const NUMBER_BYTES_MAX: usize = 24;

impl Key {
    const ALL: [Key; Key::Colo as usize + 1] = {
        use Key::*;
        [
            CityName,
            CityConfidence,
            Subdivision1Name,
            Subdivision1Code,
            Subdivision2Name,
            Subdivision2Code,
            CountryName,
            CountryCode,
            ContinentName,
            ContinentCode,
            PostalCode,
            Latitude,
            Longitude,
            AccuracyRadius,
            TimeZone,
            MetroCode,
            Asn,
            AsOrganization,
            Ray,
            Colo,
        ]
    };

    pub(super) const fn name(self) -> &'static str {
        match self {
            Key::CityName => "$geoip_city_name",
            Key::CityConfidence => "$geoip_city_confidence",
            Key::Subdivision1Name => "$geoip_subdivision_1_name",
            Key::Subdivision1Code => "$geoip_subdivision_1_code",
            Key::Subdivision2Name => "$geoip_subdivision_2_name",
            Key::Subdivision2Code => "$geoip_subdivision_2_code",
            Key::CountryName => "$geoip_country_name",
            Key::CountryCode => "$geoip_country_code",
            Key::ContinentName => "$geoip_continent_name",
            Key::ContinentCode => "$geoip_continent_code",
            Key::PostalCode => "$geoip_postal_code",
            Key::Latitude => "$geoip_latitude",
            Key::Longitude => "$geoip_longitude",
            Key::AccuracyRadius => "$geoip_accuracy_radius",
            Key::TimeZone => "$geoip_time_zone",
            Key::MetroCode => "cf_metro_code",
            Key::Asn => "cf_asn",
            Key::AsOrganization => "cf_as_organization",
            Key::Ray => "cf_ray",
            Key::Colo => "cf_colo",
        }
    }

    /// The column it fills. Where two keys fill one, the earlier of a list wins.
    pub(super) const fn column(self) -> Option<Column> {
        match self {
            Key::CountryCode => Some(Column::Country),
            Key::Subdivision1Name | Key::Subdivision1Code => Some(Column::Region),
            Key::CityName => Some(Column::City),
            Key::TimeZone => Some(Column::Timezone),
            Key::Colo => Some(Column::CfColo),
            _ => None,
        }
    }

    /// Of its text, or of its digits.
    const fn bytes_max(self) -> usize {
        match self {
            Key::CityName
            | Key::Subdivision1Name
            | Key::Subdivision2Name
            | Key::CountryName
            | Key::ContinentName
            | Key::AsOrganization => NAME_BYTES_MAX,
            Key::TimeZone | Key::Ray => 2 * CODE_BYTES_MAX,
            Key::CityConfidence | Key::Latitude | Key::Longitude | Key::AccuracyRadius | Key::Asn => NUMBER_BYTES_MAX,
            _ => CODE_BYTES_MAX,
        }
    }
}

/// Most that all keys together add to an event, side texts of columns included.
pub(super) const ALL_BYTES_MAX: usize = {
    let mut sum = 0;
    let mut at = 0;
    while at < Key::ALL.len() {
        let key = Key::ALL[at];
        let text = key.bytes_max();
        // Quotes of the key, colon and comma; then quotes and a backslash before every character.
        sum += key.name().len() + 4 + 2 * text + 2;
        if key.column().is_some() {
            sum += text;
        }
        at += 1;
    }
    sum
};

/// Properties and their values as JSON, in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stated(Vec<(Key, String)>);

impl Stated {
    /// Adds a text without what surrounds it and without control characters, unless nothing is left.
    pub(super) fn text(&mut self, key: Key, text: &str) {
        let clean: String = text.chars().filter(|character| !character.is_control()).collect();
        let clean = clean.trim();
        let end = clean.floor_char_boundary(key.bytes_max());
        if end > 0 {
            let mut json = String::with_capacity(end + 2);
            json::push_string(&mut json, &clean[..end]);
            self.0.push((key, json));
        }
    }

    /// Adds a number with at most six digits behind the point, which for degrees is ten centimetres.
    pub(super) fn number(&mut self, key: Key, number: f64) {
        let json = format!("{}", (number * 1e6).round() / 1e6 + 0.0);
        if number.is_finite() && json.len() <= key.bytes_max() {
            self.0.push((key, json));
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&str> {
        self.0.iter().find(|(other, _)| *other == key).map(|(_, json)| json.as_str())
    }

    pub(super) fn has_any(&self, keys: &[Key]) -> bool {
        self.0.iter().any(|(key, _)| keys.contains(key))
    }

    /// Takes over what is not stated here, of the keys that `may` be taken.
    pub(super) fn fill_from(&mut self, other: Stated, may: impl Fn(Key) -> bool) {
        for (key, json) in other.0 {
            if may(key) && self.get(key).is_none() {
                self.0.push((key, json));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &str)> {
        self.0.iter().map(|(key, json)| (*key, json.as_str()))
    }

    pub(super) fn block(&self) -> Block {
        let mut block = Block::default();
        for (key, json) in self.iter() {
            if !block.members.is_empty() {
                block.members.push(',');
            }
            block.members.push('"');
            block.members.push_str(key.name());
            block.members.push_str("\":");
            let start = block.members.len();
            block.members.push_str(json);
            if let Some(column) = key.column()
                && block.columns.iter().all(|(filled, _)| *filled != column)
            {
                block.columns.push((column, ColumnText::of(json, start)));
            }
        }
        block
    }
}

/// Properties as text that goes into many events.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// `"key":value`, separated by commas.
    pub(super) members: String,
    pub(super) columns: Vec<(Column, ColumnText)>,
}

/// Where the text of a column is.
#[derive(Clone, Debug)]
pub(super) enum ColumnText {
    /// Bytes of the members.
    Members { start: usize, length: usize },
    /// Escapes make it another text there.
    Own(Box<str>),
}

impl ColumnText {
    fn of(json: &str, start: usize) -> ColumnText {
        match json.strip_prefix('"') {
            Some(_) if json.contains('\\') => {
                ColumnText::Own(Json::scanned(json).as_text().unwrap_or_default().into_owned().into_boxed_str())
            }
            Some(_) => ColumnText::Members { start: start + 1, length: json.len() - 2 },
            None => ColumnText::Members { start, length: json.len() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_cleaned() {
        let long = "é".repeat(100);
        for (key, text, expected) in [
            (Key::CityName, " Berlin\n", Some("\"Berlin\"")),
            (Key::CityName, "A\"b\\c", Some(r#""A\"b\\c""#)),
            (Key::CityName, "\u{7}", None),
            (Key::CityName, "", None),
            (Key::PostalCode, &long, Some(&*format!("\"{}\"", "é".repeat(16)))),
        ] {
            let mut stated = Stated::default();
            stated.text(key, text);
            assert_eq!(stated.get(key), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_json() {
        for (number, expected) in [
            (52.5196, Some("52.5196")),
            (-0.0, Some("0")),
            (-1e-300, Some("0")),
            (13.0, Some("13")),
            (-179.123_456_789, Some("-179.123457")),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            let mut stated = Stated::default();
            stated.number(Key::Latitude, number);
            assert_eq!(stated.get(Key::Latitude), expected, "{number}");
        }
    }

    #[test]
    fn every_key_is_listed_once() {
        for (place, key) in Key::ALL.into_iter().enumerate() {
            assert_eq!(key as usize, place);
        }
    }
}
