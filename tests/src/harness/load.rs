//! Clients that send without end and remember every event that the server acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::PROJECT;
use super::http::{agent, send_by};

/// What the clients send.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Requests hold 1 to this many events.
    pub(crate) batch_max: usize,
    /// Each n-th event happened years ago, so that it goes the way of late rows.
    pub(crate) late_every: Option<usize>,
    /// Between two requests of a connection.
    pub(crate) pause: Duration,
}

/// Makes an event of this uuid; one that happened years ago if told so.
pub(crate) type MakeEvent = fn(Uuid, bool) -> Value;

/// A request whose events the server acknowledged together, or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) uuids: Vec<Uuid>,
    body: String,
}

#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) acknowledged: Vec<Uuid>,
    /// Sent, but the connection ended first: each is in the table once or not at all.
    pub(crate) unanswered: Vec<Batch>,
}

/// Running clients.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Sent>>,
}

impl Load {
    pub(crate) fn start(url: &str, shape: &Shape) -> Self {
        Load::start_of(url, shape, visit)
    }

    pub(crate) fn start_of(url: &str, shape: &Shape, event: MakeEvent) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let clients = (0..shape.connections)
            .map(|_| {
                let (url, shape) = (format!("{url}/batch/"), shape.clone());
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                std::thread::spawn(move || send_until(&url, &shape, event, &stop, &acknowledged))
            })
            .collect();
        Load { stop, acknowledged, clients }
    }

    /// Events acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Ends the clients; those whose server is gone have ended by themselves.
    pub(crate) fn finish(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Sent::default();
        for client in self.clients {
            let sent = client.join().expect("a client met an answer that it must not get");
            all.acknowledged.extend(sent.acknowledged);
            all.unanswered.extend(sent.unanswered);
        }
        all
    }
}

fn send_until(url: &str, shape: &Shape, event: MakeEvent, stop: &AtomicBool, acknowledged: &AtomicUsize) -> Sent {
    let agent = agent();
    let mut sent = Sent::default();
    while !stop.load(Ordering::SeqCst) {
        let batch = Batch::new(rand::random_range(1..=shape.batch_max), shape.late_every, event);
        loop {
            match send_by(&agent, "POST", url, JSON, Some(batch.body.as_bytes())) {
                Ok(answer) if answer.status == 200 => {
                    acknowledged.fetch_add(batch.uuids.len(), Ordering::SeqCst);
                    sent.acknowledged.extend(&batch.uuids);
                    break;
                }
                Ok(answer) => {
                    // Over capacity, or stopping: the client keeps the batch and comes again.
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    assert!(answer.header("retry-after").is_some(), "503 without Retry-After");
                    if stop.load(Ordering::SeqCst) {
                        sent.unanswered.push(batch);
                        return sent;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(_) => {
                    sent.unanswered.push(batch);
                    return sent;
                }
            }
        }
        std::thread::sleep(shape.pause);
    }
    sent
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

impl Batch {
    fn new(size: usize, late_every: Option<usize>, event: MakeEvent) -> Self {
        let uuids: Vec<Uuid> = (0..size).map(|_| Uuid::now_v7()).collect();
        let late = |n: usize| late_every.is_some_and(|every| n.is_multiple_of(every));
        let events: Vec<Value> = uuids.iter().enumerate().map(|(n, uuid)| event(*uuid, late(n))).collect();
        let body = json!({"api_key": PROJECT, "batch": events}).to_string();
        Batch { uuids, body }
    }

    /// Sends the same bytes again, as an SDK does after a lost answer.
    pub(crate) fn send_again(&self, url: &str) {
        let answer = super::http::send("POST", &format!("{url}/batch/"), JSON, Some(self.body.as_bytes()));
        answer.expect("no answer").assert_sdk_ok();
    }
}

/// Of one of 500 visitors of a shop.
fn visit(uuid: Uuid, late: bool) -> Value {
    let visitor = rand::random_range(0..500);
    let mut event = json!({
        "event": (["$pageview", "$autocapture", "order placed"])[visitor % 3],
        "distinct_id": format!("visitor-{visitor}"),
        "uuid": uuid,
        "properties": {
            "$browser": (["Firefox", "Chrome", "Safari"])[visitor % 3],
            "$current_url": format!("https://shop.example/item/{visitor}"),
            "$session_id": format!("session-{}", visitor / 5),
            "amount": visitor as f64 / 4.0,
        },
    });
    if late {
        event["timestamp"] = json!(format!("2021-0{}-11T10:20:30.400Z", 1 + visitor % 9));
    }
    event
}
