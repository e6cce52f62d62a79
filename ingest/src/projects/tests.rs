use super::*;

fn parse(text: &str) -> Result<Projects, String> {
    Projects::parse(text).map_err(|error| error.to_string())
}

#[test]
fn every_key_of_a_project_is_read() {
    let text = r#"[
        {"token": " phc_b "},
        {"token": "phc_a", "name": "Shop", "team_id": 7, "time_zone": "Europe/Berlin", "recording": false,
         "retention_days": {"events": 365, "replay": 30}, "store_ip": false,
         "allowed_origins": ["https://shop.example", "https://*.shop.example"],
         "group_types": ["company", null, "project"]}
    ]"#;
    for text in [text.to_owned(), format!(" {{\"projects\": {text}}}")] {
        let projects = parse(&text).unwrap();
        assert!(!projects.is_open());
        let tokens: Vec<&str> = projects.iter().map(|project| project.token.as_str()).collect();
        assert_eq!(tokens, ["phc_a", "phc_b"]);
        let a = projects.get("phc_a").unwrap();
        assert_eq!((a.name.as_deref(), a.team_id, a.time_zone), (Some("Shop"), Some(7), Tz::Europe__Berlin));
        assert_eq!((a.recording, a.store_ip), (Some(false), false));
        assert_eq!(a.retention_days, Retention { events: Some(365), replay: Some(30) });
        let slots =
            ["company", "", "project", "", ""].map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
        assert_eq!(a.group_types.as_deref(), Some(&slots));
        let origins: Vec<String> = a.allowed_origins().unwrap().collect();
        assert_eq!(origins, ["https://shop.example", "https://*.shop.example"]);
        let b = projects.get("phc_b").unwrap();
        let plain = Project {
            token: ProjectToken::parse("phc_b").unwrap(),
            name: None,
            team_id: None,
            time_zone: Tz::UTC,
            recording: None,
            retention_days: Retention::default(),
            store_ip: true,
            group_types: None,
            allowed_origins: None,
        };
        assert_eq!(**b, plain);
    }
}

#[test]
fn a_list_that_is_wrong_is_refused_with_place_and_reason() {
    let long = "x".repeat(201);
    let many = vec![r#"{"token":"t"}"#; PROJECTS_MAX + 1].join(",");
    for (text, words) in [
        ("", vec!["cannot be read", "line 1"]),
        ("phc_a,phc_b", vec!["cannot be read", "line 1 column 1"]),
        ("[", vec!["cannot be read"]),
        (r#"[{"token":"phc_a"}] x"#, vec!["trailing characters"]),
        ("[]", vec!["1 to 10000 projects", "has 0"]),
        (&format!("[{many}]"), vec!["has 10001"]),
        (r#"{"project":[]}"#, vec!["unknown field `project`", "`projects`"]),
        (r#"{"phc_a":{}}"#, vec!["unknown field `phc_a`"]),
        (r#"["phc_a"]"#, vec!["invalid type", "line 1"]),
        (r#"[{"name":"a"}]"#, vec!["missing field `token`"]),
        ("[{\"token\":\"phc_a\",\n\"colour\":1}]", vec!["unknown field `colour`", "`store_ip`", "line 2"]),
        (r#"[{"token":"phc_a","store_ip":false,"store_ip":true}]"#, vec!["duplicate field `store_ip`"]),
        (r#"[{"token":"phc_a","store_ip":"no"}]"#, vec!["invalid type: string \"no\"", "boolean"]),
        (r#"[{"token":"phc_a","team_id":1.5}]"#, vec!["1.5"]),
        (r#"[{"token":"phc_a"},{"token":"phx_b"}]"#, vec!["project 2 (phx_b)", "personal key"]),
        (r#"[{"token":"","name":"Shop"}]"#, vec!["project 1 (Shop)", "it is empty"]),
        (r#"[{"token":"a"},{"token":" a"}]"#, vec!["project 2", "the token a is listed before"]),
        (r#"[{"token":"a","name":" "}]"#, vec!["name has 1 to 200 characters"]),
        (&format!(r#"[{{"token":"a","name":"{long}"}}]"#), vec!["name has 1 to 200 characters"]),
        (r#"[{"token":"a","time_zone":"Berlin"}]"#, vec!["time_zone", "\"Berlin\"", "Europe/Berlin"]),
        (r#"[{"token":"a","time_zone":""}]"#, vec!["time_zone"]),
        (r#"[{"token":"a","retention_days":{"events":0}}]"#, vec!["retention_days", "events", "1 to 36500"]),
        (r#"[{"token":"a","retention_days":{"replay":36501}}]"#, vec!["replay", "1 to 36500"]),
        (r#"[{"token":"a","retention_days":{"events":-1}}]"#, vec!["-1"]),
        (r#"[{"token":"a","retention_days":{"event":1}}]"#, vec!["unknown field `event`"]),
        (r#"[{"token":"a","retention_days":30}]"#, vec!["invalid type"]),
        (r#"[{"token":"a","allowed_origins":[]}]"#, vec!["allowed_origins is empty"]),
        (r#"[{"token":"a","allowed_origins":["shop.example"]}]"#, vec!["allowed_origins", "\"shop.example\""]),
        (r#"[{"token":"a","allowed_origins":"*"}]"#, vec!["invalid type"]),
        (r#"[{"token":"a","group_types":["a","b","c","d","e","f"]}]"#, vec!["group_types", "5 slots, not 6"]),
        (r#"[{"token":"a","group_types":["a","a"]}]"#, vec!["group_types", "\"a\" has two slots"]),
        (r#"[{"token":"a","group_types":[" "]}]"#, vec!["group_types", "empty"]),
    ] {
        let error = parse(text).expect_err(text);
        let shown = &text[..text.len().min(100)];
        assert!(words.iter().all(|word| error.contains(word)), "{shown}: {error} lacks one of {words:?}");
    }
}

#[test]
fn tokens_and_sites_are_let_in_as_listed() {
    let text = r#"[{"token":"any"},{"token":"one","allowed_origins":["https://shop.example"]}]"#;
    let (listed, open) = (parse(text).unwrap(), Projects::default());
    let (shop, evil) = (Some("https://shop.example"), Some("https://evil.example"));
    for (projects, token, origin, expected) in [
        (&open, "any", evil, Ok(None)),
        (&open, "", None, Ok(None)),
        (&listed, "any", evil, Ok(Some("any"))),
        (&listed, "any", None, Ok(Some("any"))),
        (&listed, "one", shop, Ok(Some("one"))),
        (&listed, "one", None, Ok(Some("one"))),
        (&listed, "one", evil, Err(Code::OriginNotAllowed)),
        (&listed, "one", Some("null"), Err(Code::OriginNotAllowed)),
        (&listed, "other", shop, Err(Code::UnknownToken)),
        (&listed, "ONE", None, Err(Code::UnknownToken)),
        (&listed, "", None, Err(Code::UnknownToken)),
    ] {
        let admitted = projects.admit(token, origin);
        let admitted = admitted.map(|project| project.map(|project| project.token.as_str()));
        assert_eq!(admitted.map_err(|refusal| refusal.code), expected, "{token} {origin:?}");
    }
}

#[test]
fn a_new_list_holds_for_all_who_share_it() {
    let shared = SharedProjects::default();
    let other = shared.clone();
    let before = other.load();
    shared.replace(parse(r#"[{"token":"a"}]"#).unwrap());
    assert!(before.is_open(), "what a request has loaded does not change");
    assert!(other.load().get("a").is_some());
}
