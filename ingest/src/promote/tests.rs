use super::*;

fn check(properties: &str, column: Column, expected: Option<&str>) {
    let object = Object::parse(properties);
    let promotion = promote(&object);
    let value = promotion.column(column).and_then(Json::scalar);
    assert_eq!(value.as_deref(), expected, "{properties}");
}

#[test]
fn every_source_fills_its_column_and_earlier_ones_win() {
    let column_sources = |column: Column| {
        let sources = KNOWN.iter().filter_map(move |(key, known)| match known {
            Known::Column(of, rank) if *of == column => Some((*rank, *key)),
            _ => None,
        });
        sources.collect::<Vec<_>>()
    };
    for column in Column::ALL {
        let sources = column_sources(column);
        assert!(!sources.is_empty(), "{column:?}");
        for (place, (rank, key)) in sources.iter().enumerate() {
            assert_eq!(usize::from(*rank), place, "{key}");
            // Alone, and against all later ones, whichever stands first.
            check(&format!(r#"{{"{key}":"x"}}"#), column, Some("x"));
            for (_, later) in &sources[place + 1..] {
                check(&format!(r#"{{"{key}":"x","{later}":"y"}}"#), column, Some("x"));
                check(&format!(r#"{{"{later}":"y","{key}":"x"}}"#), column, Some("x"));
                check(&format!(r#"{{"{later}":"y","{key}":null}}"#), column, Some("y"));
            }
        }
    }
}

/// The sources as the table's documentation states them.
#[test]
fn sources_are_those_of_the_table() {
    for (column, sources) in [
        (Column::SessionId, "$session_id session_id"),
        (Column::WindowId, "$window_id window_id"),
        (Column::CurrentUrl, "$current_url current_url url"),
        (Column::Pathname, "$pathname pathname path"),
        (Column::Host, "$host host"),
        (Column::PageTitle, "$title title page_title"),
        (Column::Referrer, "$referrer referrer"),
        (Column::ReferringDomain, "$referring_domain"),
        (Column::UtmTerm, "utm_term $utm_term"),
        (Column::BrowserVersion, "$browser_version"),
        (Column::Os, "$os $os_name"),
        (Column::OsVersion, "$os_version"),
        (Column::DeviceType, "$device_type"),
        (Column::Country, "$geoip_country_code country_code"),
        (Column::Region, "$geoip_subdivision_1_name $geoip_subdivision_1_code"),
        (Column::City, "$geoip_city_name"),
        (Column::Timezone, "$geoip_time_zone $timezone"),
        (Column::CfColo, "cf_colo"),
        (Column::CfAsn, "cf_asn"),
    ] {
        for source in sources.split(' ') {
            check(&format!(r#"{{"{source}":"x"}}"#), column, Some("x"));
        }
    }
    for near in ["$initial_utm_source", "Utm_source", "utm_source ", "$os2", "o", "", &"x".repeat(40)] {
        let object = Object::parse(format!(r#"{{"{near}":"x"}}"#));
        let promotion = promote(&object);
        assert!(Column::ALL.into_iter().all(|column| promotion.column(column).is_none()), "{near}");
    }
}

#[test]
fn scalars_are_taken_as_sent() {
    for (value, expected) in [
        ("156", Some("156")),
        ("1.10", Some("1.10")),
        ("1e3", Some("1e3")),
        ("18446744073709551616", Some("18446744073709551616")),
        ("true", Some("true")),
        (r#""""#, Some("")),
        (r#""a\u0000b""#, Some("a\u{fffd}b")),
        (r#""\u00e9\n""#, Some("é\n")),
        ("null", None),
        ("{}", None),
        ("[1]", None),
    ] {
        check(&format!(r#"{{"$browser_version":{value}}}"#), Column::BrowserVersion, expected);
    }
    check(r#"{"\u0024os":"Linux"}"#, Column::Os, Some("Linux"));
}

#[test]
fn referring_domains_are_foreign_hosts() {
    for (property, referrer, host, expected) in [
        (Some("news.example"), Some("https://other.example/"), Some("shop.example"), Some("news.example")),
        (Some("$direct"), Some("$direct"), Some("shop.example"), None),
        (Some("shop.example"), None, Some("shop.example"), None),
        (Some("SHOP.example"), None, Some("shop.example"), None),
        (Some(""), None, None, None),
        (None, Some("https://news.example/a?b#c"), Some("shop.example"), Some("news.example")),
        (None, Some("https://news.example:8080?x"), None, Some("news.example:8080")),
        (None, Some("https://user:pass@news.example/@x"), None, Some("news.example")),
        (None, Some("https://shop.example/"), Some("shop.example"), None),
        (None, Some("$direct"), None, None),
        (None, Some("android-app://com.example/"), None, Some("com.example")),
        (None, None, Some("shop.example"), None),
    ] {
        assert_eq!(referring_domain(property, referrer, host), expected, "{property:?} {referrer:?} {host:?}");
    }
}
