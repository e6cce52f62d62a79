//! What the server adds to events: from Cloudflare's headers, from databases of addresses, and ids for
//! visitors without cookies.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Options, PROJECT, Server, http, wait_for};

#[path = "../../../ingest/src/enrich/tests/mmdb.rs"]
mod mmdb;

/// Sent as bytes: a city in UTF-8 is no header that clients would write.
fn capture(server: &Server, event: &str, distinct_id: &str, headers: &str, properties: &Value) {
    let body =
        json!({"api_key": PROJECT, "event": event, "distinct_id": distinct_id, "properties": properties}).to_string();
    let request = format!(
        "POST /i/v0/e/ HTTP/1.1\r\nHost: events.example.com\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let stream = TcpStream::connect(server.address()).unwrap();
    http::send_raw(stream, request.as_bytes()).unwrap().assert_sdk_ok();
}

/// `$ip`, a property and the columns that enrichment fills.
fn stored(server: &Server, event: &str, property: &str) -> Value {
    let sql = format!(
        "select properties->>'$ip', properties->'{property}', country, region, city, timezone, cf_colo, cf_asn \
         from events where event = $1"
    );
    let rows = server.sql_with(&sql, &[json!(event)]).rows;
    assert_eq!(rows.len(), 1, "{event}");
    json!(rows[0])
}

const CLOUDFLARE: &str = "CF-Connecting-IP: 81.2.69.142\r\nX-Forwarded-For: 198.51.100.9\r\nCF-IPCountry: BR\r\n\
    CF-IPCity: São Paulo\r\nCF-Region: S\\u00c3\\u00a3o Paulo\r\nCF-Region-Code: SP\r\nCF-IPContinent: SA\r\n\
    CF-IPLatitude: -23.5475\r\nCF-IPLongitude: -46.63610\r\nCF-Timezone: America/Sao_Paulo\r\n\
    CF-Ray: 230b030023ae2822-GRU\r\nX-ASN: AS27699\r\n";

#[test]
fn cloudflares_headers_count_only_where_they_are_trusted() {
    let trusting = Options::new().set("HOGFLARE_TRUST_CLOUDFLARE", "true").set("HOGFLARE_ASN_HEADER", "X-ASN").start();
    let place = ["BR", "São Paulo", "São Paulo", "America/Sao_Paulo", "GRU"];
    let [country, region, city, zone, colo] = place;
    let own = json!({"$ip": "198.51.100.7", "$geoip_country_code": "FR"});
    let disabled = json!({"$geoip_disable": true, "$timezone": "Asia/Tokyo"});
    let hidden = CLOUDFLARE.replacen("CF-Connecting-IP: 81.2.69.142\r\n", "", 1);
    let nothing = Value::Null;
    for (event, headers, properties, property, expected) in [
        (
            "all",
            CLOUDFLARE,
            json!({}),
            "$geoip_latitude",
            json!(["81.2.69.142", -23.5475, country, region, city, zone, colo, 27_699]),
        ),
        (
            "ray",
            CLOUDFLARE,
            json!({}),
            "cf_ray",
            json!(["81.2.69.142", "230b030023ae2822-GRU", country, region, city, zone, colo, 27_699]),
        ),
        (
            "own",
            CLOUDFLARE,
            own,
            "$geoip_city_name",
            json!(["198.51.100.7", nothing, "FR", nothing, nothing, nothing, colo, nothing]),
        ),
        (
            "disabled",
            CLOUDFLARE,
            disabled,
            "$geoip_city_name",
            json!(["81.2.69.142", nothing, nothing, nothing, nothing, "Asia/Tokyo", colo, 27_699]),
        ),
        (
            "hidden",
            &hidden,
            json!({}),
            "$geoip_longitude",
            json!([nothing, -46.6361, country, region, city, zone, colo, 27_699]),
        ),
        (
            "direct",
            "",
            json!({}),
            "cf_ray",
            json!(["127.0.0.1", nothing, nothing, nothing, nothing, nothing, nothing, nothing]),
        ),
    ] {
        capture(&trusting, event, "visitor", headers, &properties);
        assert_eq!(stored(&trusting, event, property), expected, "{event}");
    }
    let config = trusting.config();
    for line in ["trust-cloudflare       true", "asn-header             x-asn", "geoip-db"] {
        assert!(config.contains(line), "{config}");
    }

    let other = Options::new().set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1").start();
    capture(&other, "untrusted", "visitor", CLOUDFLARE, &json!({}));
    let untouched = json!(["198.51.100.9", nothing, nothing, nothing, nothing, nothing, nothing, nothing]);
    assert_eq!(stored(&other, "untrusted", "cf_ray"), untouched);
}

fn place(country: &str, city: &str) -> Vec<u8> {
    let record = json!({
        "country": {"iso_code": country, "names": {"en": "Somewhere"}},
        "city": {"names": {"en": city}},
        "subdivisions": [{"iso_code": "S1", "names": {"en": "First"}}],
        "location": {"latitude": 1.5, "longitude": -2.25, "accuracy_radius": 20, "time_zone": "Europe/London"},
    });
    mmdb::database("GeoLite2-City", &[("81.2.69.0/24", record.clone()), ("127.0.0.0/8", record)])
}

#[test]
fn databases_of_addresses_fill_the_columns() {
    let folder = tempfile::TempDir::new().unwrap();
    let (geo, asn) = (folder.path().join("city.mmdb"), folder.path().join("asn.mmdb"));
    fs::write(&geo, place("GB", "London")).unwrap();
    let network = json!({"autonomous_system_number": 20_712, "autonomous_system_organization": "Andrews & Arnold"});
    fs::write(&asn, mmdb::database("GeoLite2-ASN", &[("81.2.69.0/24", network)])).unwrap();
    let options = Options::new()
        .set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1")
        .set("HOGFLARE_GEOIP_DB", &geo.display().to_string())
        .set("HOGFLARE_ASN_DB", &asn.display().to_string());
    let server = options.start();
    let forwarded = "X-Forwarded-For: 81.2.69.142\r\n";
    capture(&server, "looked up", "visitor", forwarded, &json!({}));
    let of = |country: &str, city: &str, property: Value| {
        json!(["81.2.69.142", property, country, "First", city, "Europe/London", null, 20_712])
    };
    assert_eq!(stored(&server, "looked up", "$geoip_accuracy_radius"), of("GB", "London", json!(20)));
    capture(&server, "local", "visitor", "", &json!({}));
    assert_eq!(stored(&server, "local", "cf_asn"), json!(["127.0.0.1", null, null, null, null, null, null, null]));

    // A file that is broken in its place changes nothing; a good one counts without a restart.
    fs::write(&geo, b"<html>").unwrap();
    wait_for("the warning", || server.log().contains("stays in use").then_some(()));
    capture(&server, "kept", "visitor", forwarded, &json!({}));
    assert_eq!(stored(&server, "kept", "cf_as_organization"), of("GB", "London", json!("Andrews & Arnold")));
    fs::write(&geo, place("IE", "Cork")).unwrap();
    wait_for("the new file", || server.log().contains("anew").then_some(()));
    capture(&server, "new", "visitor", forwarded, &json!({}));
    assert_eq!(stored(&server, "new", "$geoip_country_name"), of("IE", "Cork", json!("Somewhere")));

    let elsewhere = folder.path().join("data").display().to_string();
    for (path, expected) in [(folder.path().join("none.mmdb"), "cannot read"), (asn, "GeoLite2-ASN")] {
        let path = path.display().to_string();
        let refused =
            server.hogflare(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &elsewhere, "--geoip-db", &path]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(&path) && said.contains(expected), "{said}");
    }
}

#[test]
fn visitors_without_cookies_are_told_apart_for_a_day() {
    let mut server = Options::new().start();
    let everybody = "$posthog_cookieless";
    let send = |server: &Server, event: &str, agent: &str| {
        let properties = json!({
            "distinct_id": everybody, "$cookieless_mode": true, "$raw_user_agent": agent, "$host": "shop.example",
        });
        capture(server, event, everybody, &format!("User-Agent: {agent}\r\n"), &properties);
    };
    for (event, agent) in [("first", "Firefox"), ("second", "Firefox"), ("other", "Safari")] {
        send(&server, event, agent);
    }
    let salts = server.data_dir().join("cookieless-salts.json");
    assert_eq!(fs::metadata(&salts).unwrap().permissions().mode() & 0o777, 0o600);
    server.kill();
    server.restart();
    send(&server, "third", "Firefox");

    // Midnight may pass meanwhile: the day of the events decides.
    let rows = server
        .sql("select event, distinct_id, person_id, session_id, properties, cast(\"timestamp\" as date) from events");
    let of = |event: &str| rows.rows.iter().find(|row| row[0] == event).unwrap_or_else(|| panic!("no {event}")).clone();
    let [first, second, third, other] = ["first", "second", "third", "other"].map(of);
    let is_same_day = |row: &[Value]| row[5] == first[5];
    for row in [&second, &third].into_iter().filter(|row| is_same_day(row)) {
        assert_eq!(row[1..4], first[1..4]);
    }
    assert!(other[1..4].iter().zip(&first[1..4]).all(|(other, first)| other != first), "{other:?} {first:?}");
    for row in [&first, &second, &third, &other] {
        assert!(row[1].as_str().unwrap().starts_with("cookieless_"), "{row:?}");
        let properties: Value = serde_json::from_str(row[4].as_str().unwrap()).unwrap();
        assert_eq!(properties["distinct_id"], row[1]);
        assert_eq!(properties["$session_id"], row[3]);
        assert!(properties.get("$ip").is_none() && properties.get("$raw_user_agent").is_none(), "{properties}");
    }
}
