//! Everything the fake knows, and how it takes a request: budget, fault, effect, answer.

use bytes::Bytes;
use iceberg::TableIdent;
use serde_json::json;

use super::access::Access;
use super::counts::{Client, Counts};
use super::fault::{Fault, FaultKind, Faults, Step};
use super::http::{Request, Response};
use super::limits::Limits;
use super::objects::Objects;
use super::rest::Route;
use super::storage::Operation;
use super::tables::{Refusal, Tables};
use super::{FakeSettings, Profile, xml};

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: FakeSettings,
    /// `http://127.0.0.1:<port>`
    pub(super) endpoint: String,
    pub(super) tables: Tables,
    pub(super) objects: Objects,
    pub(super) access: Access,
    pub(super) faults: Faults,
    pub(super) limits: Limits,
    pub(super) counts: Counts,
    pub(super) refused_keys: usize,
    /// Requests to the catalog are dropped.
    pub(super) away: bool,
}

/// How the answer gets to the client, or does not.
#[derive(Debug)]
pub(super) enum Delivery {
    Answer(Response),
    /// Half of it, then the end of the connection.
    Half(Response),
    Reset,
    Hang,
}

/// What a request is for.
#[derive(Debug)]
enum Target {
    Catalog(Route),
    Storage(Operation),
}

impl Target {
    fn of(request: &Request, settings: &FakeSettings) -> Target {
        let segments = request.segments();
        match segments.split_first() {
            Some((first, below)) if first == "catalog" => Target::Catalog(Route::of(request, below, &settings.prefix)),
            _ => Target::Storage(Operation::of(request, &settings.bucket)),
        }
    }

    fn step(&self) -> Step {
        match self {
            Target::Catalog(route) => route.step(),
            Target::Storage(operation) => operation.step(),
        }
    }

    fn table(&self) -> Option<&TableIdent> {
        match self {
            Target::Catalog(route) => route.table(),
            Target::Storage(_) => None,
        }
    }
}

impl State {
    pub(super) fn new(settings: FakeSettings, endpoint: String) -> State {
        State {
            limits: Limits::new(settings.window, settings.profile == Profile::R2),
            settings,
            endpoint,
            tables: Tables::default(),
            objects: Objects::default(),
            access: Access::default(),
            faults: Faults::default(),
            counts: Counts::default(),
            refused_keys: 0,
            away: false,
        }
    }

    /// Takes a request as a whole: nothing of another one happens in between.
    pub(super) fn take(&mut self, request: &Request) -> Delivery {
        let target = Target::of(request, &self.settings);
        let delivery = match &target {
            Target::Catalog(_) if self.away => Delivery::Reset,
            Target::Catalog(route) if !self.admit(route) => Delivery::Answer(self.too_many(&target)),
            _ => self.take_with_fault(&target, request),
        };
        let bytes_down = match &delivery {
            Delivery::Answer(answer) if !request.is_head() => answer.body.len(),
            Delivery::Half(answer) => answer.body.len() / 2,
            _ => 0,
        };
        self.counts.note(Client::Wire, target.step(), request.body.len(), bytes_down);
        delivery
    }

    fn admit(&mut self, route: &Route) -> bool {
        let now_us = self.settings.clock.now_us();
        route.budget().is_none_or(|budget| self.limits.admit(budget, now_us))
    }

    fn take_with_fault(&mut self, target: &Target, request: &Request) -> Delivery {
        // A drawn fault must be one that a right client survives: nothing replaces keys that were not lent out.
        let lent = self.access.is_lent(request);
        let there = target.table().is_some_and(|ident| self.tables.tables.contains_key(ident));
        let spares = |kind| match kind {
            FaultKind::ExpiredCredentials => !lent,
            FaultKind::Foreign | FaultKind::Compacted | FaultKind::ExpiredSnapshot => !there,
            _ => false,
        };
        let step = target.step();
        let Some(fault) = self.faults.next(step, spares) else {
            return Delivery::Answer(self.apply(target, request));
        };
        self.faults.note(step, fault);
        match fault {
            Fault::Status(status) => Delivery::Answer(injected(target, status)),
            Fault::AppliedThen(status) => {
                self.apply(target, request);
                Delivery::Answer(injected(target, status))
            }
            Fault::Reset => Delivery::Reset,
            Fault::AppliedThenReset => {
                self.apply(target, request);
                Delivery::Reset
            }
            Fault::Hang => Delivery::Hang,
            Fault::AppliedThenHang => {
                self.apply(target, request);
                Delivery::Hang
            }
            Fault::Truncated => Delivery::Half(self.apply(target, request)),
            Fault::Garbage => {
                self.apply(target, request);
                Delivery::Answer(Response::with_body(200, "text/html", "<html><body>Welcome</body></html>"))
            }
            Fault::Replayed => {
                self.apply(target, request);
                Delivery::Answer(self.apply(target, request))
            }
            Fault::RateLimited => Delivery::Answer(self.too_many(target)),
            Fault::ExpiredCredentials if lent => {
                self.access.expire(request, self.settings.clock.now_us());
                Delivery::Answer(self.apply(target, request))
            }
            Fault::ExpiredCredentials => Delivery::Answer(match target {
                Target::Catalog(_) => injected(target, 401),
                Target::Storage(_) => xml::error(403, "ExpiredToken", "The provided token has expired"),
            }),
            Fault::Foreign | Fault::Compacted | Fault::ExpiredSnapshot => {
                let ident = target.table().filter(|_| there).expect("a foreign writer needs the table to be there");
                match fault {
                    Fault::Foreign => self.foreign_append(ident),
                    Fault::Compacted => self.compact(ident),
                    _ => self.expire_below_foreign(ident),
                }
                Delivery::Answer(self.apply(target, request))
            }
        }
    }

    fn apply(&mut self, target: &Target, request: &Request) -> Response {
        match target {
            Target::Catalog(route) => self.answer_catalog(route, request),
            Target::Storage(operation) => self.answer_storage(operation, request),
        }
    }

    fn too_many(&self, target: &Target) -> Response {
        let answer = match target {
            Target::Catalog(_) => Refusal::new(429, "TooManyRequestsException", "too many requests").into(),
            Target::Storage(_) => xml::error(429, "TooManyRequests", "Reduce your request rate."),
        };
        answer.header("retry-after", self.settings.retry_after_s)
    }

    /// Writes an object without a request of the clients under test.
    pub(super) fn put_beside(&mut self, client: Client, location: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.counts.note(client, Step::Put, bytes.len(), 0);
        let (key, now_ms) = (self.key_of(location).to_owned(), self.settings.clock.now_ms());
        self.objects.put(&key, bytes, now_ms);
    }

    /// The key of `s3://<bucket>/<key>`.
    pub(super) fn key_of<'a>(&self, location: &'a str) -> &'a str {
        let place = location.strip_prefix("s3://").and_then(|place| place.strip_prefix(&self.settings.bucket));
        place.and_then(|key| key.strip_prefix('/')).unwrap_or_else(|| panic!("{location} is not in the bucket"))
    }
}

/// A status that nothing in the request asks for, in the words of whoever answers it.
fn injected(target: &Target, status: u16) -> Response {
    match (target, status) {
        (Target::Catalog(_), 401 | 403) => Response::text(status, "Unauthorized"),
        (Target::Catalog(_), _) => {
            let error = json!({"message": "injected", "type": "InternalServerError", "code": status});
            Response::json(status, &json!({"error": error}))
        }
        (Target::Storage(_), 503) => xml::error(status, "SlowDown", "injected"),
        (Target::Storage(_), _) => xml::error(status, "InternalError", "injected"),
    }
}
