//! The shapes of a capture body: an envelope with a `batch`, an array of events, or one event.
//! The path does not decide which: posthog-js sends envelopes to `/e`.

use std::ops::Range;

use super::encoding::FormFields;
use super::json::{Json, Member, Span};
use super::repair::repair;
use super::scanner::{ScanError, Scanner};
use super::{Code, DecodeLimits, Refusal};

/// A decoded request: its text, and where the events and their keys stand in it.
#[derive(Debug)]
pub struct Request {
    text: String,
    is_envelope: bool,
    /// Keys of the envelope; empty without one.
    envelope: Vec<Member>,
    items: Vec<ItemSpan>,
    /// Keys of all items, each item's together.
    fields: Vec<Member>,
    /// Keys of the `properties` of all items, each item's together.
    properties: Vec<Member>,
    pub(crate) form: FormFields,
}

#[derive(Clone, Debug, Default)]
struct ItemSpan {
    span: Span,
    /// Of [`Request::fields`]; nothing when the item is no object.
    fields: Option<Range<usize>>,
    /// Of [`Request::properties`].
    properties: Range<usize>,
    /// Levels of objects and arrays, the item's own included.
    depth: usize,
}

/// One element of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) text: &'a str,
    pub(crate) json: Json<'a>,
    /// Nothing when the item is no object.
    pub(crate) fields: Option<&'a [Member]>,
    /// Keys of its `properties`, when they are an object.
    pub(crate) properties: &'a [Member],
    pub(crate) depth: usize,
}

impl Request {
    pub(super) fn read(text: String, form: FormFields, limits: &DecodeLimits) -> Result<Request, Refusal> {
        match Request::scan(&text, limits) {
            Ok(request) => return request.finish(text, form),
            Err(Stop::Json(_)) => {}
            Err(too_large) => return Err(too_large.into()),
        }
        let text = repair(&text);
        Request::scan(&text, limits)?.finish(text, form)
    }

    pub(crate) fn items(&self) -> impl ExactSizeIterator<Item = Item<'_>> {
        self.items.iter().map(|item| Item {
            text: &self.text,
            json: Json::at(&self.text, item.span),
            fields: item.fields.clone().map(|fields| &self.fields[fields]),
            properties: &self.properties[item.properties.clone()],
            depth: item.depth,
        })
    }

    /// Whether the body is an object with an array `batch`.
    pub(crate) fn is_envelope(&self) -> bool {
        self.is_envelope
    }

    /// Length of the decoded text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// A key of the envelope; the last one if it is repeated.
    pub(crate) fn envelope(&self, name: &str) -> Option<Json<'_>> {
        let member = self.envelope.iter().rev().find(|member| member.key.of(&self.text) == name)?;
        Some(Json::at(&self.text, member.value))
    }

    fn finish(mut self, text: String, form: FormFields) -> Result<Request, Refusal> {
        if self.items.is_empty() {
            return Err(Refusal::new(Code::NoEvents, "the request holds no event"));
        }
        self.text = text;
        self.form = form;
        Ok(self)
    }

    fn scan(text: &str, limits: &DecodeLimits) -> Result<Request, Stop> {
        let mut request = Request {
            text: String::new(),
            is_envelope: false,
            envelope: Vec::new(),
            items: Vec::new(),
            fields: Vec::new(),
            properties: Vec::new(),
            form: FormFields::default(),
        };
        let mut scanner = Scanner::new(text);
        match scanner.peek()? {
            b'[' => scanner.array(|scanner| request.item(text, scanner, limits))?,
            b'{' => request.top_object(text, &mut scanner, limits)?,
            _ => {
                let what = "the body is neither an object nor an array";
                return Err(Stop::Json(ScanError { what, at: 0 }));
            }
        }
        scanner.end()?;
        Ok(request)
    }

    /// An envelope if it has an array `batch`, else an event.
    fn top_object(&mut self, text: &str, scanner: &mut Scanner<'_>, limits: &DecodeLimits) -> Result<(), Stop> {
        let mut own = Vec::new();
        let mut properties = Vec::new();
        let mut is_envelope = false;
        let mark = scanner.mark_depth();
        let span = scanner.object(|scanner, key, key_escaped| {
            if key.of(text) == "batch" && scanner.peek()? == b'[' {
                is_envelope = true;
                self.items.clear();
                return scanner.array(|scanner| self.item(text, scanner, limits));
            }
            let value = if key.of(text) == "properties" {
                properties.clear();
                self.properties(scanner, &mut properties, limits)?
            } else {
                scanner.value()?
            };
            own.push(Member { key, key_escaped, value });
            limits.check_members(own.len())
        })?;
        if is_envelope {
            self.is_envelope = true;
            self.envelope = own;
            return Ok(());
        }
        let depth = scanner.depth_below(mark);
        self.items.push(ItemSpan { span, fields: Some(0..own.len()), properties: 0..properties.len(), depth });
        self.fields = own;
        self.properties = properties;
        Ok(())
    }

    fn item(&mut self, text: &str, scanner: &mut Scanner<'_>, limits: &DecodeLimits) -> Result<(), Stop> {
        if self.items.len() == limits.batch_events_max {
            return Err(Stop::TooLarge(format!("the batch has more than {} events", limits.batch_events_max)));
        }
        let mark = scanner.mark_depth();
        if scanner.peek()? != b'{' {
            let span = scanner.value()?;
            self.items.push(ItemSpan { span, depth: scanner.depth_below(mark), ..ItemSpan::default() });
            return Ok(());
        }
        let first_field = self.fields.len();
        let mut first_property = self.properties.len();
        let span = scanner.object(|scanner, key, key_escaped| {
            let value = if key.of(text) == "properties" {
                // A repeated key: the last one counts.
                first_property = self.properties.len();
                let mut properties = std::mem::take(&mut self.properties);
                let value = self.properties(scanner, &mut properties, limits);
                self.properties = properties;
                value?
            } else {
                scanner.value()?
            };
            self.fields.push(Member { key, key_escaped, value });
            limits.check_members(self.fields.len())
        })?;
        self.items.push(ItemSpan {
            span,
            fields: Some(first_field..self.fields.len()),
            properties: first_property..self.properties.len(),
            depth: scanner.depth_below(mark),
        });
        Ok(())
    }

    /// Passes over `properties` and notes its keys, if it is an object.
    fn properties(
        &self,
        scanner: &mut Scanner<'_>,
        properties: &mut Vec<Member>,
        limits: &DecodeLimits,
    ) -> Result<Span, Stop> {
        if scanner.peek()? != b'{' {
            return Ok(scanner.value()?);
        }
        scanner.object(|scanner, key, key_escaped| {
            properties.push(Member { key, key_escaped, value: scanner.value()? });
            limits.check_members(self.fields.len() + properties.len())
        })
    }
}

impl DecodeLimits {
    fn check_members(&self, members: usize) -> Result<(), Stop> {
        if members > self.members_max {
            return Err(Stop::TooLarge(format!("the events have more than {} keys", self.members_max)));
        }
        Ok(())
    }
}

/// Why a text was not read to its end.
#[derive(Debug)]
enum Stop {
    Json(ScanError),
    TooLarge(String),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Stop {
        Stop::Json(error)
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Refusal {
        match stop {
            Stop::Json(error) => Refusal::new(Code::InvalidJson, format!("failed to parse request: {error}")),
            Stop::TooLarge(what) => Refusal::new(Code::BodyTooLarge, what),
        }
    }
}
