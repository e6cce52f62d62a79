//! posthog-node and posthog (Python) decide flags themselves, from what `/flags/definitions` says: as `/flags` does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::differences::{self, Met};
use super::operators::{CONDITIONS, DAYS_AGO, VALUES};
use super::{JSON, KEY, options, read_payload};
use crate::harness::clients::Client;
use crate::harness::setting::Setting;
use crate::harness::{PROJECT, Server, read_text, skipped};

const IDS: usize = 10_000;
/// Enough to meet every way into and out of the cohorts.
const IDS_OF_COHORTS: usize = 500;
/// Requests for flags that are open at once.
const ASKING_THREADS: usize = 4;

/// A flag that is asked for, by what it is to show: its operator, or its own key.
#[derive(Clone, Debug)]
pub(super) struct Case {
    key: String,
    pub(super) kind: String,
    /// The condition's value, as it is written.
    pub(super) wanted: String,
}

#[derive(Clone, Debug)]
struct Question {
    distinct_id: String,
    /// JSON text.
    properties: String,
    /// `p` of the properties.
    value: String,
    groups: Value,
    group_properties: Value,
    device_id: Value,
}

impl Question {
    fn about(distinct_id: String, properties: String) -> Question {
        let value = String::new();
        Question {
            distinct_id,
            properties,
            value,
            groups: json!({}),
            group_properties: json!({}),
            device_id: Value::Null,
        }
    }

    fn for_client(&self) -> Value {
        json!({
            "distinct_id": self.distinct_id, "properties": self.properties, "groups": self.groups,
            "group_properties": self.group_properties, "device_id": self.device_id,
        })
    }

    /// Numbers stay as they are written.
    fn for_server(&self, keys: &Value) -> String {
        let rest = json!({
            "token": PROJECT, "distinct_id": self.distinct_id, "groups": self.groups, "device_id": self.device_id,
            "group_properties": self.group_properties, "flag_keys_to_evaluate": keys, "evaluation_runtime": "server",
        });
        format!(r#"{{"person_properties":{},{}"#, self.properties, &rest.to_string()[1..])
    }
}

/// Flags, and what they are asked with.
struct Trial {
    cases: Vec<Case>,
    questions: Vec<Question>,
}

impl Trial {
    fn keys(&self) -> Value {
        self.cases.iter().map(|case| case.key.as_str()).collect()
    }
}

/// A flag per operator and value, asked by people who have each of the values, or none.
fn operators(file: &mut Value, now: chrono::DateTime<chrono::Utc>) -> Trial {
    let mut cases = Vec::new();
    for (operators, values) in CONDITIONS {
        for operator in operators {
            for wanted in texts(values) {
                let key = format!("operator-{}", cases.len());
                let value: Value = serde_json::from_str(&wanted).unwrap();
                let properties = json!([{"key": "p", "value": value, "operator": operator, "type": "person"}]);
                let groups = json!([{"properties": properties, "rollout_percentage": 100}]);
                file["flags"].as_array_mut().unwrap().push(super::flag(&key, groups));
                cases.push(Case { key, kind: (*operator).to_owned(), wanted });
            }
        }
    }
    let mut values = texts(VALUES);
    values.extend(DAYS_AGO.map(|days| {
        let ago = chrono::Duration::days(days) + chrono::Duration::minutes(30);
        json!((now - ago).format("%Y-%m-%dT%H:%M:%SZ").to_string()).to_string()
    }));
    let somebody = |(index, value): (usize, String)| Question {
        value: value.clone(),
        ..Question::about(format!("value-{index}"), format!(r#"{{"p":{value}}}"#))
    };
    let mut questions: Vec<Question> = values.into_iter().enumerate().map(somebody).collect();
    questions.push(Question::about("missing".to_owned(), "{}".to_owned()));
    Trial { cases, questions }
}

fn texts(list: &str) -> Vec<String> {
    let values: Vec<Box<RawValue>> = serde_json::from_str(list).unwrap();
    values.iter().map(|value| value.get().to_owned()).collect()
}

/// Flags of every shape, asked by many.
fn shapes(file: &Value, ids: usize, fits: impl Fn(&str) -> bool) -> Trial {
    let keys = file["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap());
    let case = |key: &str| Case { key: key.to_owned(), kind: key.to_owned(), wanted: String::new() };
    Trial { cases: keys.filter(|key| fits(key)).map(case).collect(), questions: (0..ids).map(visitor).collect() }
}

/// Every mixture of properties, and of groups that a visitor is in.
fn visitor(number: usize) -> Question {
    let device = format!("d-{number}");
    let plans = ["pro", "free", "team", "Pro", "x"];
    let properties = json!({
        "p": if number.is_multiple_of(3) { "free" } else { "pro" },
        "plan": plans[number % plans.len()],
        "age": number % 50,
        "$device_id": device,
        "$feature_enrollment/enrolled": number.is_multiple_of(2),
        "$feature_enrollment/super": if number.is_multiple_of(2) { "false" } else { "true" },
    });
    let mut question = Question::about(format!("user-{number}"), properties.to_string());
    question.device_id = json!(device);
    if !number.is_multiple_of(7) {
        question.groups = json!({"company": format!("c-{}", number % 1000)});
        let tier = if number.is_multiple_of(4) { "tin" } else { "gold" };
        question.group_properties = json!({"company": {"tier": tier}});
    }
    question
}

/// What an SDK that decides flags itself says to each question, without asking for flags.
fn decided(client: &mut Client, server: &Server, trial: &Trial, send_cohorts: bool) -> Vec<Value> {
    let questions: Vec<Value> = trial.questions.iter().map(Question::for_client).collect();
    let mut told = client.ask(&json!({
        "op": "local", "host": server.url(), "token": PROJECT, "key": KEY, "send_cohorts": send_cohorts,
        "questions": questions, "keys": trial.keys(),
    }));
    assert_eq!(told["errors"], json!([]));
    assert_eq!(told["asked"], json!([["/flags/definitions", 200]]));
    serde_json::from_value(told["answer"].take()).unwrap()
}

/// What the server says to each question.
fn asked(server: &Server, trial: &Trial) -> Vec<Value> {
    let keys = trial.keys();
    let ask = |question: &Question| {
        let answer = server.post("/flags/?v=2", &[JSON], question.for_server(&keys).as_bytes());
        assert_eq!(answer.status, 200, "{question:?}: {}", answer.text());
        answer.json()["flags"].take()
    };
    let share = trial.questions.len().div_ceil(ASKING_THREADS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = trial
            .questions
            .chunks(share)
            .map(|questions| scope.spawn(move || questions.iter().map(ask).collect::<Vec<Value>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The documents that an SDK was not told of.
fn left_out(server: &Server, trial: &Trial, send_cohorts: bool) -> BTreeSet<String> {
    let cohorts = if send_cohorts { "&send_cohorts" } else { "" };
    let path = format!("/flags/definitions?token={PROJECT}{cohorts}");
    let answer = server.get(&path, &[("authorization", &format!("Bearer {KEY}"))]);
    let document = answer.json();
    let told: BTreeSet<&str> =
        document["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap()).collect();
    trial.cases.iter().map(|case| case.key.clone()).filter(|key| !told.contains(key.as_str())).collect()
}

/// What came of a trial with one SDK.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers like the server's, by kind.
    agreed: BTreeMap<String, usize>,
    /// Flags of which it decided nothing.
    silent: BTreeSet<String>,
    met: Met,
}

fn compare(sdk: &str, trial: &Trial, answers: &[Value], server: &[Value]) -> Outcome {
    assert_eq!(answers.len(), trial.questions.len(), "{sdk}");
    let mut outcome =
        Outcome { silent: trial.cases.iter().map(|case| case.key.clone()).collect(), ..Outcome::default() };
    let mut unknown = Vec::new();
    for ((question, told), flags) in trial.questions.iter().zip(answers).zip(server) {
        for case in &trial.cases {
            let Some(theirs) = told["values"].get(&case.key).filter(|value| !value.is_null()) else { continue };
            let flag = &flags[&case.key];
            let ours = if flag["variant"].is_null() { &flag["enabled"] } else { &flag["variant"] };
            outcome.silent.remove(&case.key);
            if theirs == ours && flag["failed"].is_null() {
                *outcome.agreed.entry(case.kind.clone()).or_default() += 1;
                let payloads = [&told["payloads"][&case.key], &flag["metadata"]["payload"]].map(read_payload);
                assert_eq!(payloads[0], payloads[1], "{sdk}: payload of {case:?} for {question:?}");
            } else if let Some(known) = differences::find(sdk, case, &question.value) {
                outcome.met.insert(known);
            } else {
                unknown.push(format!("{case:?} for {question:?}: {theirs}, the server {flag}"));
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "{sdk}: {} differences, such as\n{}",
        unknown.len(),
        unknown[..unknown.len().min(20)].join("\n")
    );
    outcome
}

fn clients() -> [(&'static str, Client); 2] {
    [("node", Client::node("flags_node.mjs")), ("python", Client::python("flags_python.py"))]
}

/// What came of a trial.
struct Findings {
    /// Flags that SDKs are not told of.
    left_out: BTreeSet<String>,
    outcomes: [(&'static str, Outcome); 2],
}

/// Starts a server with the file, lets each SDK decide, and only then asks the server.
fn run(file: &Value, trial: &Trial, send_cohorts: bool) -> Findings {
    let setting = Setting::new("flags.json", &file.to_string());
    let server = options(setting.path()).start();
    let told = clients().map(|(sdk, mut client)| (sdk, decided(&mut client, &server, trial, send_cohorts)));
    let routes = server.metrics();
    assert!(!routes.contains(r#"route="/flags""#) && !routes.contains(r#"route="/decide""#), "{routes}");
    let said = asked(&server, trial);
    Findings {
        left_out: left_out(&server, trial, send_cohorts),
        outcomes: told.map(|(sdk, told)| (sdk, compare(sdk, trial, &told, &said))),
    }
}

fn set<const N: usize>(keys: [&str; N]) -> BTreeSet<String> {
    keys.map(str::to_owned).into()
}

/// Operators that are not known to posthog (Python): it asks the server.
const UNKNOWN_TO_PYTHON: [&str; 5] =
    ["between", "icontains_multi", "is_date_exact", "not_between", "not_icontains_multi"];

/// Whether an SDK asks for a flag that it was told of, whoever it is for.
fn asks(sdk: &str, case: &Case) -> bool {
    match sdk {
        "python" => UNKNOWN_TO_PYTHON.contains(&case.kind.as_str()),
        // In JavaScript 5 and 5.0 are one number, of which the server knows two texts.
        _ => ["exact", "is_not"].contains(&case.kind.as_str()) && case.wanted == "5",
    }
}

#[test]
fn sdks_decide_every_operator_as_the_server_does() {
    if skipped("clients") {
        return;
    }
    let mut file = json!({"flags": []});
    let now = server_clock();
    let trial = operators(&mut file, now);
    let Findings { left_out, outcomes } = run(&file, &trial, true);
    let mut met = Met::new();
    for (sdk, outcome) in outcomes {
        for case in &trial.cases {
            let agreed = outcome.agreed.get(&case.kind).copied().unwrap_or_default();
            let is_known = sdk == "node" || !UNKNOWN_TO_PYTHON.contains(&case.kind.as_str());
            assert_eq!(agreed > 0, is_known, "{sdk} decided {agreed} times by {}", case.kind);
            let is_silent = outcome.silent.contains(&case.key);
            assert_eq!(is_silent, asks(sdk, case) || left_out.contains(&case.key), "{sdk}: {case:?}");
        }
        met.extend(outcome.met);
    }
    differences::assert_shown(&met, now.date_naive());
}

/// Now, by a server.
fn server_clock() -> chrono::DateTime<chrono::Utc> {
    let answer = options("[]").start().get("/healthz", &[]);
    chrono::DateTime::parse_from_rfc2822(answer.header("date").unwrap()).unwrap().to_utc()
}

/// Flags that SDKs are not told of: as they would decide otherwise, or not at all.
const LEFT_OUT: [&str; 8] =
    ["cohort-8", "dep-seed", "enrolled", "mixed-filters", "not-cohort-8", "seed", "seed-bucketed", "super"];

#[test]
fn sdks_decide_flags_of_every_shape_as_the_server_does() {
    if skipped("clients") {
        return;
    }
    let file: Value = serde_json::from_str(&read_text("tests/fixtures/flags/shapes.json")).unwrap();
    let trial = shapes(&file, IDS, |_| true);
    let Findings { left_out, outcomes } = run(&file, &trial, true);
    assert_eq!(left_out, set(LEFT_OUT));
    // Whose bucket is kept is known to the server alone.
    let silent: BTreeSet<String> = left_out.into_iter().chain(["continuity".to_owned()]).collect();
    for (sdk, outcome) in outcomes {
        assert_eq!(outcome.silent, silent, "{sdk}");
        assert_eq!(outcome.met, Met::new(), "{sdk}");
        for case in trial.cases.iter().filter(|case| !silent.contains(&case.key)) {
            assert_eq!(outcome.agreed[&case.kind], IDS, "{sdk}: {}", case.key);
        }
    }
}

#[test]
fn cohorts_that_are_written_out_say_the_same() {
    if skipped("clients") {
        return;
    }
    let file: Value = serde_json::from_str(&read_text("tests/fixtures/flags/shapes.json")).unwrap();
    let trial = shapes(&file, IDS_OF_COHORTS, |key| key.contains("cohort"));
    let Findings { left_out, outcomes } = run(&file, &trial, false);
    assert_eq!(left_out, set(["cohort-8", "not-cohort-8"]));
    for (sdk, outcome) in outcomes {
        let decided: BTreeSet<String> =
            trial.cases.iter().map(|case| case.key.clone()).filter(|key| !outcome.silent.contains(key)).collect();
        // Neither a cohort that leaves people out nor being in none can be said by properties alone.
        let written_out = ["cohort-1", "cohort-2", "cohort-3", "cohort-5", "cohort-7", "cohort-and-more"];
        assert_eq!(decided, set(written_out), "{sdk}");
        for (kind, agreed) in &outcome.agreed {
            assert_eq!(*agreed, IDS_OF_COHORTS, "{sdk}: {kind}");
        }
    }
}
