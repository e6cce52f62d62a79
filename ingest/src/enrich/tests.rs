use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::*;
use crate::protocol::RequestFacts;
use crate::testing::{facts, run};

pub(crate) mod mmdb;

/// In the file of places; `PRIVATE` too, where no look-up may arrive.
const CLIENT: &str = "81.2.69.142";
const OTHER: &str = "89.160.20.128";
const PRIVATE: &str = "192.168.7.7";
const UNKNOWN: &str = "203.0.113.7";

fn places() -> Vec<u8> {
    let london = json!({
        "city": {"geoname_id": 2_643_743, "confidence": 40, "names": {"en": "London", "de": "London"}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
        "location": {"accuracy_radius": 10, "latitude": 51.5142, "longitude": -0.0931, "time_zone": "Europe/London"},
        "postal": {"code": "OX1"},
        "subdivisions": [
            {"iso_code": "ENG", "names": {"en": "England"}},
            {"iso_code": "WBK", "names": {"en": "West \"Berk\""}},
        ],
    });
    let sweden = json!({"country": {"iso_code": "SE", "names": {"en": "Sweden"}}, "location": {"time_zone": "Europe/Stockholm"}});
    mmdb::database(
        "GeoIP2-Enterprise",
        &[
            ("81.2.69.0/24", london),
            ("89.160.0.0/17", sweden.clone()),
            ("192.168.0.0/16", sweden.clone()),
            ("2a00::/12", sweden),
        ],
    )
}

fn networks() -> Vec<u8> {
    let of = |asn: u32, name: &str| json!({"autonomous_system_number": asn, "autonomous_system_organization": name});
    mmdb::database(
        "GeoLite2-ASN",
        &[("81.2.69.0/24", of(20_712, "Andrews & Arnold Ltd")), ("89.160.0.0/17", of(29_518, "Bredband2"))],
    )
}

fn written(folder: &TempDir) -> GeoPaths {
    let paths = GeoPaths { geoip: Some(folder.path().join("geo.mmdb")), asn: Some(folder.path().join("asn.mmdb")) };
    fs::write(paths.geoip.as_ref().unwrap(), places()).unwrap();
    fs::write(paths.asn.as_ref().unwrap(), networks()).unwrap();
    paths
}

fn files() -> GeoFiles {
    GeoFiles::open(&written(&TempDir::new().unwrap())).unwrap()
}

fn known(files: &GeoFiles, client: &str, headers: &[(&str, &str)]) -> Known {
    let settings =
        EnrichSettings { trust_cloudflare: true, asn_header: Some("x-asn".to_owned()), ..EnrichSettings::default() };
    let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_bytes());
    Known::read(&settings, files, client.parse().ok(), header)
}

fn enriched(known: &Known, facts: &RequestFacts, event: &str) -> CapturedEvent {
    let mut normalized = run(facts, event).unwrap();
    enrich(&mut normalized.events, known);
    let once = normalized.events[0].properties().to_owned();
    enrich(&mut normalized.events, known);
    assert_eq!(normalized.events[0].properties(), once, "a second call adds nothing");
    normalized.events.remove(0)
}

fn event(properties: &str) -> String {
    format!(r#"{{"event":"e","distinct_id":"u","api_key":"t","properties":{{{properties}}}}}"#)
}

/// Checks properties (null: absent) and columns, each by name.
fn check(event: &CapturedEvent, properties: &Value, columns: [Option<&str>; 5], asn: Option<i64>) {
    let found: Value = serde_json::from_str(event.properties()).unwrap();
    for (key, value) in properties.as_object().unwrap() {
        assert_eq!(found.get(key).unwrap_or(&Value::Null), value, "{key} of {found}");
    }
    let row = event.as_row().promoted;
    assert_eq!([row.country, row.region, row.city, row.timezone, row.cf_colo], columns, "{found}");
    assert_eq!(row.cf_asn, asn, "{found}");
}

/// What the person gets.
fn pairs(event: &CapturedEvent) -> Vec<String> {
    let automatic = event.identity().automatic.collect();
    let geo = automatic.iter().filter_map(|(name, json)| Some((name.name().strip_prefix("$geoip_")?, json)));
    geo.map(|(name, json)| format!("{name}={json}")).collect()
}

#[test]
fn files_tell_place_and_network() {
    let found = enriched(&known(&files(), CLIENT, &[]), &facts(), &event(""));
    let all = json!({
        "$ip": CLIENT, "$geoip_city_name": "London", "$geoip_city_confidence": 40,
        "$geoip_subdivision_1_name": "England", "$geoip_subdivision_1_code": "ENG",
        "$geoip_subdivision_2_name": "West \"Berk\"", "$geoip_subdivision_2_code": "WBK",
        "$geoip_country_name": "United Kingdom", "$geoip_country_code": "GB",
        "$geoip_continent_name": "Europe", "$geoip_continent_code": "EU", "$geoip_postal_code": "OX1",
        "$geoip_latitude": 51.5142, "$geoip_longitude": -0.0931, "$geoip_accuracy_radius": 10,
        "$geoip_time_zone": "Europe/London", "cf_asn": 20_712, "cf_as_organization": "Andrews & Arnold Ltd",
    });
    assert_eq!(serde_json::from_str::<Value>(found.properties()).unwrap(), all);
    let columns = [Some("GB"), Some("England"), Some("London"), Some("Europe/London"), None];
    check(&found, &all, columns, Some(20_712));
    let pairs = pairs(&found);
    assert_eq!(pairs.len(), 15);
    assert!(pairs.contains(&"subdivision_2_name=\"West \\\"Berk\\\"\"".to_owned()), "{pairs:?}");
    assert!(pairs.contains(&"accuracy_radius=10".to_owned()), "{pairs:?}");

    let v6 = enriched(&known(&files(), "2a02::1", &[]), &facts(), &event(""));
    check(&v6, &json!({"$geoip_country_code": "SE"}), [Some("SE"), None, None, Some("Europe/Stockholm"), None], None);
}

#[test]
fn headers_win_over_files() {
    let texas = [("cf-ipcountry", "US"), ("cf-ipcity", "Austin"), ("cf-region-code", "TX"), ("x-asn", "7018")];
    let london = [Some("GB"), Some("England"), Some("London"), Some("Europe/London")];
    let with_colo = |place: [Option<&'static str>; 4], colo| [place[0], place[1], place[2], place[3], colo];
    let none = [None; 4];
    for (client, headers, properties, columns, asn) in [
        (
            CLIENT,
            &texas[..],
            json!({"$geoip_continent_name": null, "cf_as_organization": null, "$geoip_latitude": null}),
            with_colo([Some("US"), Some("TX"), Some("Austin"), None], None),
            Some(7018),
        ),
        (
            UNKNOWN,
            &texas[..],
            json!({"$ip": UNKNOWN}),
            with_colo([Some("US"), Some("TX"), Some("Austin"), None], None),
            Some(7018),
        ),
        // The same country: the file tells more closely.
        (
            CLIENT,
            &[("cf-ipcountry", "GB"), ("x-asn", "20712")],
            json!({"cf_as_organization": "Andrews & Arnold Ltd"}),
            with_colo(london, None),
            Some(20_712),
        ),
        // A place in the same country: of the file only the country counts.
        (
            CLIENT,
            &[("cf-ipcountry", "GB"), ("cf-ipcity", "Leeds")],
            json!({"$geoip_country_name": "United Kingdom", "$geoip_postal_code": null}),
            with_colo([Some("GB"), None, Some("Leeds"), None], None),
            Some(20_712),
        ),
        (
            CLIENT,
            &[("cf-ipcountry", "XX"), ("cf-ray", "8a-LHR")],
            json!({"cf_ray": "8a-LHR"}),
            with_colo(london, Some("LHR")),
            Some(20_712),
        ),
        (
            PRIVATE,
            &[("cf-ipcountry", "GB"), ("cf-ray", "8a-LHR")],
            json!({"$ip": PRIVATE, "$geoip_country_code": null}),
            with_colo(none, Some("LHR")),
            None,
        ),
        // The front hides the address.
        ("", &[("cf-ipcountry", "GB")], json!({"$ip": null}), with_colo([Some("GB"), None, None, None], None), None),
        (UNKNOWN, &[], json!({"$ip": UNKNOWN, "cf_ray": null}), with_colo(none, None), None),
    ] {
        check(&enriched(&known(&files(), client, headers), &facts(), &event("")), &properties, columns, asn);
    }
}

#[test]
fn the_event_s_own_keys_win() {
    let known = known(&files(), CLIENT, &[("cf-ray", "8a-LHR")]);
    let london = [Some("GB"), Some("England"), Some("London"), Some("Europe/London"), Some("LHR")];
    let nowhere = [None, None, None, None, Some("LHR")];
    let asn = Some(20_712);
    for (query, own, properties, columns, asn, knows_geo) in [
        ("", "", json!({"$ip": CLIENT, "cf_ray": "8a-LHR"}), london, asn, true),
        // Of the same column, `$geoip_*` counts first, wherever it is from.
        ("", r#""$timezone":"Asia/Tokyo","country_code":"JP""#, json!({"$timezone": "Asia/Tokyo"}), london, asn, true),
        (
            "",
            r#""$geoip_country_code":"FR""#,
            json!({"$geoip_country_code": "FR", "$geoip_city_name": null}),
            [Some("FR"), None, None, None, Some("LHR")],
            asn,
            false,
        ),
        ("", r#""$geoip_city_name":null"#, json!({"$geoip_country_code": null, "$ip": CLIENT}), nowhere, asn, false),
        ("", r#""cf_metro_code":null"#, json!({"$geoip_country_code": null}), nowhere, asn, false),
        ("", r#""$geoip_disable":true"#, json!({"$ip": CLIENT, "$geoip_country_code": null}), nowhere, asn, false),
        ("", r#""$geoip_disable":1"#, json!({"$geoip_country_code": null}), nowhere, asn, false),
        ("", r#""$geoip_disable":"yes""#, json!({"$geoip_country_code": null}), nowhere, asn, false),
        ("", r#""$geoip_disable":false"#, json!({"$geoip_disable": false}), london, asn, true),
        ("", r#""$geoip_disable":0"#, json!({}), london, asn, true),
        ("", r#""$geoip_disable":"""#, json!({}), london, asn, true),
        ("", r#""cf_asn":1"#, json!({"cf_asn": 1, "cf_as_organization": null}), london, Some(1), true),
        ("", r#""cf_asn":null"#, json!({"cf_as_organization": null}), london, None, true),
        ("", r#""cf_as_organization":"X""#, json!({"cf_as_organization": "X", "cf_asn": null}), london, None, true),
        (
            "",
            r#""cf_colo":"FRA""#,
            json!({"cf_colo": "FRA", "cf_ray": "8a-LHR"}),
            [london[0], london[1], london[2], london[3], Some("FRA")],
            asn,
            true,
        ),
        ("", r#""cf_ray":null"#, json!({"cf_ray": null}), london, asn, true),
        // Another address is looked up by itself; no address is nowhere.
        (
            "",
            r#""$ip":"89.160.20.128""#,
            json!({"$ip": OTHER, "$geoip_country_name": "Sweden"}),
            [Some("SE"), None, None, Some("Europe/Stockholm"), Some("LHR")],
            Some(29_518),
            true,
        ),
        ("", r#""$ip":"81.2.69.142""#, json!({"$ip": CLIENT}), london, asn, true),
        ("", r#""$ip":"192.168.7.7""#, json!({"$ip": PRIVATE}), nowhere, None, false),
        ("", r#""$ip":null"#, json!({"$ip": null, "cf_ray": null}), nowhere, None, false),
        ("", r#""$ip":"somewhere""#, json!({"$ip": "somewhere"}), nowhere, None, false),
        ("0", "", json!({"$ip": null, "cf_ray": null}), [None; 5], None, false),
        // An address that may not be stored still tells the place.
        ("", r#""$cookieless_mode":true"#, json!({"$ip": null, "cf_ray": null}), london, asn, true),
        ("0", r#""$cookieless_mode":true"#, json!({"$ip": null, "cf_colo": null}), [None; 5], None, false),
        (
            "0",
            r#""$ip":"89.160.20.128""#,
            json!({"$ip": OTHER, "cf_ray": null}),
            [Some("SE"), None, None, Some("Europe/Stockholm"), None],
            Some(29_518),
            true,
        ),
    ] {
        let mut facts = facts();
        facts.query.push(("ip".to_owned(), query.to_owned()));
        let event = enriched(&known, &facts, &event(own));
        check(&event, &properties, columns, asn);
        let of_event: Map<String, Value> = serde_json::from_str(event.properties()).unwrap();
        let place = of_event.iter().filter_map(|(key, value)| Some((key.strip_prefix("$geoip_")?, value)));
        let place: Vec<String> =
            place.filter(|(key, _)| *key != "disable").map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(pairs(&event), place, "the person is where the event is: {own}");
        assert_eq!(!place.is_empty(), knows_geo || own.contains("$geoip_c"), "{own}");
    }
}

#[test]
fn an_address_beside_the_properties_counts_too() {
    let body = format!(r#"{{"event":"e","distinct_id":"u","api_key":"t","ip":"{OTHER}"}}"#);
    let found = enriched(&known(&files(), CLIENT, &[]), &facts(), &body);
    check(&found, &json!({"$ip": OTHER}), [Some("SE"), None, None, Some("Europe/Stockholm"), None], Some(29_518));
}

#[test]
fn all_events_of_a_request_get_their_own_place() {
    let addresses = [CLIENT, OTHER, OTHER, UNKNOWN, CLIENT];
    let events = addresses.map(|ip| format!(r#"{{"event":"e","distinct_id":"u","properties":{{"$ip":"{ip}"}}}}"#));
    let body = format!(r#"{{"api_key":"t","batch":[{}]}}"#, events.join(","));
    let mut normalized = run(&facts(), &body).unwrap();
    enrich(&mut normalized.events, &known(&files(), "", &[]));
    let countries: Vec<_> = normalized.events.iter().map(|event| event.as_row().promoted.country).collect();
    assert_eq!(countries, [Some("GB"), Some("SE"), Some("SE"), None, Some("GB")]);
}

#[test]
fn columns_whose_text_is_escaped_hold_the_text() {
    let known = known(&files(), UNKNOWN, &[("cf-ipcity", "A\"b\\c é"), ("cf-timezone", "Etc/UTC")]);
    let found = enriched(&known, &facts(), &event(r#""a":{}"#));
    let city = r#"A"b\c é"#;
    check(&found, &json!({"$geoip_city_name": city}), [None, None, Some(city), Some("Etc/UTC"), None], None);
}

/// The longest texts that the sources can give, each character of them escaped.
#[test]
fn nothing_is_longer_than_the_room_that_is_left() {
    let long = "\"".repeat(200);
    let named = json!({"confidence": 4_294_967_295u32, "code": long, "iso_code": long, "names": {"en": long}});
    let record = json!({
        "city": named, "continent": named, "country": named, "postal": named, "subdivisions": [named, named],
        "location": {"accuracy_radius": 4_294_967_295u32, "latitude": -89.999_999, "longitude": -179.999_999,
                     "time_zone": long},
    });
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("geo.mmdb");
    fs::write(&path, mmdb::database("GeoIP2-Enterprise", &[("2a02::/16", record)])).unwrap();
    let files = GeoFiles::open(&GeoPaths { geoip: Some(path), asn: None }).unwrap();
    let ray = format!("{long}-{long}");
    let headers = [("cf-metro-code", &*long), ("cf-ray", &ray), ("x-asn", "4294967295"), ("x-as-name", &long)];
    let settings = EnrichSettings {
        trust_cloudflare: true,
        asn_header: Some("x-asn".to_owned()),
        as_organization_header: Some("x-as-name".to_owned()),
    };
    let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_bytes());
    let known = Known::read(&settings, &files, "2a02:1111:2222:3333:4444:5555:6666:7777".parse().ok(), header);
    let before = run(&facts(), &event(r#""a":1"#)).unwrap().events.remove(0);
    let after = enriched(&known, &facts(), &event(r#""a":1"#));
    let added: Value = serde_json::from_str(after.properties()).unwrap();
    assert_eq!(added.as_object().unwrap().len(), 22, "all keys, and $ip, beside the event's one");
    let bytes = after.texts.bytes() - before.texts.bytes();
    assert!(bytes <= ADDED_BYTES_MAX && bytes > ADDED_BYTES_MAX * 9 / 10, "{bytes} of {ADDED_BYTES_MAX}");
}

#[test]
fn files_that_cannot_be_used_are_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file.mmdb");
    let wrong_types = mmdb::database("GeoLite2-City", &[("81.2.69.0/24", json!({"city": "London"}))]);
    let mut bent = places();
    // The first record of the tree now points far outside.
    bent[..4].copy_from_slice(&[0xff; 4]);
    // So is the last of many records: a map becomes a pointer.
    let many: Vec<String> = (0..1_100).map(|number| format!("81.2.{}.{}/32", number / 256, number % 256)).collect();
    let country = json!({"country": {"iso_code": "GB"}});
    let many: Vec<_> = many.iter().map(|network| (&**network, country.clone())).collect();
    let mut bent_late = mmdb::database("GeoLite2-Country", &many);
    let last = bent_late.windows(7).rposition(|window| window == b"country").unwrap();
    bent_late[last - 2] = 0x38;
    let cut = places()[..places().len() / 2].to_vec();
    let geo = |path: &Path| GeoPaths { geoip: Some(path.to_owned()), asn: None };
    let asn = |path: &Path| GeoPaths { geoip: None, asn: Some(path.to_owned()) };
    for (bytes, paths, expected) in [
        (None, geo(&path), "cannot read "),
        (Some(Vec::new()), geo(&path), "no intact database"),
        (Some(b"<html>log in</html>".to_vec()), geo(&path), "no intact database"),
        (Some(cut), geo(&path), "no intact database"),
        (Some(bent), geo(&path), "no intact database"),
        (Some(bent_late), geo(&path), "no intact database"),
        (Some(wrong_types), geo(&path), "no intact database"),
        (Some(networks()), geo(&path), "\"GeoLite2-ASN\", but --geoip-db needs a city"),
        (Some(places()), asn(&path), "\"GeoIP2-Enterprise\", but --asn-db needs an ASN"),
    ] {
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let error = GeoFiles::open(&paths).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("file.mmdb"), "{error}");
    }
}

#[test]
fn files_are_read_again_when_they_change() {
    let folder = TempDir::new().unwrap();
    let paths = written(&folder);
    let geo = paths.geoip.clone().unwrap();
    let files = GeoFiles::open(&paths).unwrap();
    let country = |files: &GeoFiles| {
        let event = enriched(&known(files, CLIENT, &[]), &facts(), &event(""));
        event.as_row().promoted.country.map(str::to_owned)
    };
    assert!(files.reload_if_changed().is_empty());
    let ireland = mmdb::database("GeoLite2-Country", &[("81.2.0.0/16", json!({"country": {"iso_code": "IE"}}))]);
    fs::write(folder.path().join("new"), &ireland).unwrap();
    fs::rename(folder.path().join("new"), &geo).unwrap();
    let reloaded: Vec<_> = files.reload_if_changed().into_iter().map(Result::unwrap).collect();
    assert_eq!((reloaded, country(&files).as_deref()), (vec![geo.clone()], Some("IE")));
    assert!(files.reload_if_changed().is_empty());

    // A bad file leaves the one before it in use, and is named once.
    for (bad, expected) in [(Some(&ireland[..60]), "no intact database"), (None, "cannot read")] {
        match bad {
            Some(bytes) => fs::write(&geo, bytes).unwrap(),
            None => fs::remove_file(&geo).unwrap(),
        }
        let errors: Vec<_> =
            files.reload_if_changed().into_iter().map(|result| result.unwrap_err().to_string()).collect();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{errors:?}");
        assert!(files.reload_if_changed().is_empty());
        assert_eq!(country(&files).as_deref(), Some("IE"));
    }
    fs::write(&geo, places()).unwrap();
    assert!(files.reload_if_changed().iter().all(Result::is_ok));
    assert_eq!(country(&files).as_deref(), Some("GB"));
}

#[test]
fn only_public_addresses_are_somewhere() {
    for (ip, expected) in [
        ("81.2.69.142", true),
        ("203.0.113.7", true),
        ("2a02::1", true),
        ("172.32.0.1", true),
        ("100.128.0.1", true),
        ("10.0.0.1", false),
        ("172.16.0.1", false),
        ("192.168.0.1", false),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("100.64.0.1", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("::1", false),
        ("::", false),
        ("fd00::1", false),
        ("fe80::1", false),
        ("ff02::1", false),
    ] {
        assert_eq!(is_public(ip.parse().unwrap()), expected, "{ip}");
    }
}
