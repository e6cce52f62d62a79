//! Reading JSON with the place of each value at hand, so that every error and warning names it.

use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};

use serde_json::{Map, Value};

use super::FlagsError;

/// Warnings of one file that are kept; further ones are counted.
const WARNINGS_MAX: usize = 200;

/// What the reader of a file noticed and did not refuse.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<(Vec<String>, usize)>);

impl Notes {
    fn add(&self, warning: String) {
        let (warnings, dropped) = &mut *self.0.borrow_mut();
        if warnings.len() < WARNINGS_MAX {
            warnings.push(warning);
        } else {
            *dropped += 1;
        }
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        let (mut warnings, dropped) = self.0.into_inner();
        if dropped > 0 {
            warnings.push(format!("{dropped} more warnings"));
        }
        warnings
    }
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Project(&'a str),
    Flag(&'a str),
    Cohort(&'a str),
    Field(&'a str),
    Index(usize),
}

/// Where a value stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    notes: &'a Notes,
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

impl<'a> Place<'a> {
    pub(super) fn root(notes: &'a Notes) -> Place<'a> {
        Place { notes, parent: None, step: Step::Root }
    }

    pub(super) fn project<'b>(&'b self, token: &'b str) -> Place<'b> {
        self.step(Step::Project(token))
    }

    pub(super) fn flag<'b>(&'b self, key: &'b str) -> Place<'b> {
        self.step(Step::Flag(key))
    }

    pub(super) fn cohort<'b>(&'b self, id: &'b str) -> Place<'b> {
        self.step(Step::Cohort(id))
    }

    pub(super) fn field<'b>(&'b self, name: &'b str) -> Place<'b> {
        self.step(Step::Field(name))
    }

    pub(super) fn index(&self, index: usize) -> Place<'_> {
        self.step(Step::Index(index))
    }

    fn step<'b>(&'b self, step: Step<'b>) -> Place<'b> {
        Place { notes: self.notes, parent: Some(self), step }
    }

    pub(super) fn refuse(&self, problem: impl Into<String>) -> FlagsError {
        FlagsError::Invalid { place: self.to_string(), problem: problem.into() }
    }

    pub(super) fn warn(&self, warning: impl Display) {
        self.notes.add(format!("{self}: {warning}"));
    }

    pub(super) fn object<'v>(&self, value: &'v Value) -> Result<Object<'v, '_>, FlagsError> {
        match value {
            Value::Object(map) => Ok(Object { map, place: self }),
            other => Err(self.refuse(format!("must be an object, not {}", kind(other)))),
        }
    }

    pub(super) fn list<'b>(&self, value: &'b Value) -> Result<&'b [Value], FlagsError> {
        match value {
            Value::Null => Ok(&[]),
            Value::Array(items) => Ok(items),
            other => Err(self.refuse(format!("must be a list, not {}", kind(other)))),
        }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let after_field = self.parent.is_some_and(|parent| matches!(parent.step, Step::Field(_) | Step::Index(_)));
        let named = if after_field { "." } else { ", " };
        match self.step {
            Step::Root => f.write_str("feature flags"),
            Step::Project(token) => write!(f, ", project {token:?}"),
            Step::Flag(key) => write!(f, ", flag {key:?}"),
            Step::Cohort(id) => write!(f, ", cohort {id:?}"),
            Step::Field(name) => write!(f, "{named}{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// An object of the file. Absent and null are the same throughout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a, 'p> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) place: &'p Place<'p>,
}

impl<'a> Object<'a, '_> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, FlagsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(name, "a string", other)),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, FlagsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.mismatch(name, "true or false", other)),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, FlagsError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.mismatch(name, "an integer", value)),
            },
        }
    }

    /// A number from 0 to 100.
    pub(super) fn percent(&self, name: &str) -> Result<Option<f64>, FlagsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let percent = value.as_f64().ok_or_else(|| self.mismatch(name, "a number from 0 to 100", value))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(self.place.field(name).refuse(format!("{value} is not a percentage from 0 to 100")));
        }
        Ok(Some(percent))
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], FlagsError> {
        self.get(name).map_or(Ok(&[]), |value| self.place.field(name).list(value))
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<Box<str>>, FlagsError> {
        let mut texts = Vec::new();
        for value in self.list(name)? {
            let text = value.as_str().ok_or_else(|| self.mismatch(name, "a list of strings", value))?;
            texts.push(text.into());
        }
        Ok(texts)
    }

    pub(super) fn entries(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, FlagsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            // PHP writes an empty map as a list.
            Some(Value::Array(items)) if items.is_empty() => Ok(None),
            Some(other) => Err(self.mismatch(name, "an object", other)),
        }
    }

    /// Warns about fields that nothing reads: mostly they are misspelt.
    pub(super) fn warn_unknown(&self, known: &[&str]) {
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str())) {
            self.place.warn(format_args!("unknown field {name:?} is ignored"));
        }
    }

    fn mismatch(&self, name: &str, wanted: &str, found: &Value) -> FlagsError {
        self.place.field(name).refuse(format!("must be {wanted}, not {}", kind(found)))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
