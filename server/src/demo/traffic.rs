//! The sample traffic: visits to a small shop over the last days, as SDKs would send them.
//!
//! Seeded, so that two runs tell the same story; only the dates move.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hogflare_catalog::{Clock, SystemClock};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

use super::TOKEN;

const DAYS: i64 = 6;
const VISITORS: usize = 400;
const EVENTS_PER_REQUEST: usize = 100;
const US_PER_SECOND: i64 = 1_000_000;

const PRODUCTS: [(&str, &str, f64); 8] = [
    ("espresso-cup", "Espresso cup", 14.0),
    ("pour-over", "Pour-over set", 39.0),
    ("grinder", "Hand grinder", 89.0),
    ("beans-ethiopia", "Beans, Ethiopia", 16.5),
    ("beans-brazil", "Beans, Brazil", 13.9),
    ("kettle", "Gooseneck kettle", 64.0),
    ("scale", "Brewing scale", 45.0),
    ("gift-card", "Gift card", 25.0),
];
const SOURCES: [(&str, &str, &str); 5] = [
    ("", "$direct", "$direct"),
    ("newsletter", "https://mail.example/", "mail.example"),
    ("search", "https://search.example/?q=coffee", "search.example"),
    ("social", "https://social.example/", "social.example"),
    ("", "https://blog.example/brewing", "blog.example"),
];
const BROWSERS: [(&str, u32, &str, &str); 4] = [
    ("Chrome", 156, "Windows", "Desktop"),
    ("Safari", 19, "iOS", "Mobile"),
    ("Firefox", 146, "Linux", "Desktop"),
    ("Chrome", 155, "Android", "Mobile"),
];

/// A request as an SDK sends it.
#[derive(Debug)]
pub(super) struct SdkRequest {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content_encoding: Option<&'static str>,
    pub(super) body: Vec<u8>,
    pub(super) events: usize,
}

/// An endless stream of visits, cut at about the number of events asked for.
#[derive(Debug)]
pub(super) struct Shop {
    random: StdRng,
    now_us: i64,
    left: usize,
    /// Events of the browser, of the Node server and of the Python worker, waiting for a full request.
    waiting: [Vec<Value>; 3],
    ready: Vec<SdkRequest>,
    /// A visitor keeps the browser and the plan of the first visit.
    visitors: Vec<Visitor>,
}

#[derive(Clone, Debug)]
struct Visitor {
    id: String,
    browser: usize,
    source: usize,
    email: Option<String>,
}

impl Shop {
    pub(super) fn open(events: usize) -> Shop {
        let mut random = StdRng::seed_from_u64(20);
        let visitors = (0..VISITORS).map(|number| Visitor::new(number, &mut random)).collect();
        let now_us = SystemClock.now_us();
        Shop { random, now_us, left: events, waiting: Default::default(), ready: Vec::new(), visitors }
    }

    fn visit(&mut self) {
        let visitor = self.visitors.choose(&mut self.random).expect("there are visitors").clone();
        // More visits lately than days ago, and none in the future.
        let age = self.random.random_range(0.0_f64..1.0).powi(2);
        let mut at = self.now_us - (age * (DAYS * 86_400 * US_PER_SECOND) as f64) as i64 - 3_600 * US_PER_SECOND;
        let session = Uuid::from_u128(self.random.random()).to_string();
        let products: Vec<&(&str, &str, f64)> = PRODUCTS.choose_multiple(&mut self.random, 3).collect();
        let mut trail = vec![("$pageview", "/".to_owned(), json!({}))];
        for (slug, name, price) in products {
            trail.push(("$pageview", format!("/products/{slug}"), json!({})));
            if self.random.random_bool(0.6) {
                trail.push((
                    "$autocapture",
                    format!("/products/{slug}"),
                    json!({"$event_type": "click", "$el_text": "Details"}),
                ));
            }
            if self.random.random_bool(0.35) {
                let item = json!({"product": slug, "name": name, "price": price, "currency": "EUR"});
                trail.push(("added to cart", format!("/products/{slug}"), item));
            }
        }
        let buys = trail.iter().any(|(event, ..)| *event == "added to cart") && self.random.random_bool(0.5);
        if buys {
            trail.push(("$pageview", "/checkout".to_owned(), json!({})));
        }
        trail.push(("$pageleave", trail.last().map(|(_, path, _)| path.clone()).unwrap_or_default(), json!({})));
        for (event, path, own) in trail {
            at += self.random.random_range(2..90) * US_PER_SECOND;
            let event = self.browser_event(&visitor, &session, (event, &path, own), at);
            self.waiting[0].push(event);
        }
        if buys {
            self.order(&visitor, at);
        }
    }

    fn browser_event(&mut self, visitor: &Visitor, session: &str, event: (&str, &str, Value), at: i64) -> Value {
        let (name, path, own) = event;
        let (browser, version, os, device) = BROWSERS[visitor.browser];
        let (campaign, referrer, domain) = SOURCES[visitor.source];
        let mut properties = json!({
            "token": TOKEN, "distinct_id": visitor.id, "$session_id": session, "$window_id": session,
            "$current_url": format!("https://shop.example{path}"), "$host": "shop.example", "$pathname": path,
            "$browser": browser, "$browser_version": version, "$os": os, "$device_type": device,
            "$lib": "web", "$lib_version": "1.449.2", "$referrer": referrer, "$referring_domain": domain,
            "title": "Small Coffee Shop", "$process_person_profile": visitor.email.is_some(),
        });
        if !campaign.is_empty() {
            properties["utm_source"] = json!(campaign);
            properties["utm_campaign"] = json!("autumn");
        }
        if let (Some(all), Some(own)) = (properties.as_object_mut(), own.as_object()) {
            all.extend(own.clone());
        }
        json!({"uuid": self.uuid(at), "event": name, "properties": properties, "timestamp": rfc3339(at)})
    }

    /// The order itself is recorded by the server, its mail by a worker.
    fn order(&mut self, visitor: &Visitor, at: i64) {
        let total = f64::from(self.random.random_range(13..190_u32)) + 0.9;
        let number = self.random.random_range(10_000..99_999_u32);
        let plan = if number % 3 == 0 { "member" } else { "guest" };
        let order = json!({
            "uuid": self.uuid(at), "event": "order completed", "distinct_id": visitor.id, "timestamp": rfc3339(at),
            "properties": {"order": number, "total": total, "currency": "EUR", "plan": plan, "$lib": "posthog-node",
                "$lib_version": "5.70.0", "$is_server": true, "$geoip_disable": true},
        });
        self.waiting[1].push(order);
        let mail = json!({
            "uuid": self.uuid(at), "event": "receipt mailed", "distinct_id": visitor.id,
            "timestamp": rfc3339(at + 5 * US_PER_SECOND),
            "properties": {"order": number, "$lib": "posthog-python", "$lib_version": "7.91.1", "$geoip_disable": true},
        });
        self.waiting[2].push(mail);
    }

    fn uuid(&mut self, at_us: i64) -> String {
        let milliseconds = u64::try_from(at_us / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &self.random.random()).into_uuid().to_string()
    }

    fn take_ready(&mut self, all: bool) {
        for lane in 0..self.waiting.len() {
            while self.waiting[lane].len() >= EVENTS_PER_REQUEST || all && !self.waiting[lane].is_empty() {
                let rest = self.waiting[lane].len().min(EVENTS_PER_REQUEST);
                let events: Vec<Value> = self.waiting[lane].drain(..rest).collect();
                let request = sdk_request(lane, events, self.now_us);
                self.left = self.left.saturating_sub(request.events);
                self.ready.push(request);
            }
        }
    }
}

impl Iterator for Shop {
    type Item = SdkRequest;

    fn next(&mut self) -> Option<SdkRequest> {
        while self.ready.is_empty() && self.left > 0 {
            self.visit();
            let waiting: usize = self.waiting.iter().map(Vec::len).sum();
            self.take_ready(waiting >= self.left);
        }
        self.ready.pop()
    }
}

impl Visitor {
    fn new(number: usize, random: &mut StdRng) -> Visitor {
        let known = random.random_bool(0.3);
        let device = Uuid::from_u128(random.random()).to_string();
        Visitor {
            id: if known { format!("customer-{number}") } else { device },
            browser: random.random_range(0..BROWSERS.len()),
            source: random.random_range(0..SOURCES.len()),
            email: known.then(|| format!("customer-{number}@mail.example")),
        }
    }
}

/// posthog-js: gzip as text/plain without a word about it. posthog-node: gzip, said so. Python: JSON.
fn sdk_request(lane: usize, events: Vec<Value>, now_us: i64) -> SdkRequest {
    let count = events.len();
    let envelope = json!({"api_key": TOKEN, "batch": events, "sent_at": rfc3339(now_us)});
    let body = serde_json::to_vec(&envelope).expect("JSON values are plain data");
    let (path, content_type, content_encoding, body) = match lane {
        0 => ("/i/v0/e/", "text/plain", None, gzip(&body)),
        1 => ("/batch/", "application/json", Some("gzip"), gzip(&body)),
        _ => ("/batch/", "application/json", None, body),
    };
    SdkRequest { path, content_type, content_encoding, body, events: count }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn rfc3339(at_us: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(at_us).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
