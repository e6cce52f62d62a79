//! What a `/flags` or `/decide` request asks, by all the names that SDKs have for it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::RequestError;
use super::flag::Runtime;
use super::question::Selection;

/// PostHog cuts ids here.
const DISTINCT_ID_CHARACTERS_MAX: usize = 200;

/// A request for flags; every part may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlagsRequest {
    pub token: Option<String>,
    /// At most 200 characters; may be empty.
    pub distinct_id: Option<String>,
    /// Keys of groups by their types.
    pub groups: HashMap<String, String>,
    pub person_properties: Map<String, Value>,
    pub group_properties: HashMap<String, Map<String, Value>>,
    /// Only these flags; an empty list is none.
    pub flag_keys: Option<Vec<String>>,
    pub contexts: Vec<String>,
    /// As the request says.
    pub runtime: Option<Runtime>,
    /// Also from the person property `$device_id`, where posthog-node looks for it.
    pub device_id: Option<String>,
    /// Who the person was before it was identified.
    pub anon_distinct_id: Option<String>,
    pub geoip_disabled: bool,
    /// The client wants the rest of the answer only.
    pub flags_disabled: bool,
    pub timezone: Option<String>,
}

impl FlagsRequest {
    /// Reads the JSON of a request. Unknown fields and values of odd types are as good as missing:
    /// nobody loses its flags over one.
    ///
    /// # Errors
    /// For what is not a JSON object.
    pub fn parse(text: &str) -> Result<FlagsRequest, RequestError> {
        let value: Value = serde_json::from_str(text).map_err(|e| RequestError::Syntax(e.to_string()))?;
        let Value::Object(fields) = value else { return Err(RequestError::NotAnObject) };
        Ok(FlagsRequest::from_fields(Fields(fields)))
    }

    fn from_fields(mut fields: Fields) -> FlagsRequest {
        let person_properties = fields.object(&["person_properties", "$properties"]);
        let device_id = fields.id(&["$device_id", "device_id"]);
        let of_person = || person_properties.get("$device_id").and_then(id_text);
        FlagsRequest {
            token: fields.id(&["token", "$token", "api_key"]),
            distinct_id: fields.id(&["distinct_id", "$distinct_id"]).map(cut),
            groups: texts(fields.object(&["groups", "$groups"])),
            group_properties: objects(fields.object(&["group_properties"])),
            flag_keys: fields.list(&["flag_keys_to_evaluate", "flag_keys"]),
            contexts: fields.list(&["evaluation_contexts", "evaluation_environments"]).unwrap_or_default(),
            runtime: fields.id(&["evaluation_runtime"]).and_then(|name| Runtime::parse(&name)),
            device_id: device_id.or_else(of_person),
            anon_distinct_id: fields.id(&["$anon_distinct_id", "anon_distinct_id"]).map(cut),
            geoip_disabled: fields.boolean(&["geoip_disable", "disable_geoip", "$geoip_disable"]),
            flags_disabled: fields.boolean(&["disable_flags"]),
            timezone: fields.id(&["timezone"]),
            person_properties,
        }
    }

    /// Which flags it asks for; see [`Runtime::of_request`].
    pub fn selection(&self, runtime: Option<Runtime>) -> Selection<'_> {
        Selection { flag_keys: self.flag_keys.as_deref(), contexts: &self.contexts, runtime }
    }
}

/// The fields of a request, of which each is taken by the first of its names that says anything.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let name = names.iter().find(|name| self.0.get(**name).is_some_and(&fits))?;
        self.0.get_mut(*name).map(Value::take)
    }

    fn id(&mut self, names: &[&str]) -> Option<String> {
        match self.take(names, |value| id_text(value).is_some())? {
            Value::String(text) => Some(text),
            other => id_text(&other),
        }
    }

    /// PHP sends an empty map as a list: everything but an object is an empty one.
    fn object(&mut self, names: &[&str]) -> Map<String, Value> {
        match self.take(names, Value::is_object) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    /// Strings; an empty list is none.
    fn list(&mut self, names: &[&str]) -> Option<Vec<String>> {
        let items = match self.take(names, |value| value.is_array() || value.is_string())? {
            Value::Array(items) => items,
            scalar => vec![scalar],
        };
        let texts: Vec<String> = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
        (!texts.is_empty()).then_some(texts)
    }

    fn boolean(&mut self, names: &[&str]) -> bool {
        self.take(names, |value| *value == true || *value == "true").is_some()
    }
}

fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn cut(mut id: String) -> String {
    if let Some((end, _)) = id.char_indices().nth(DISTINCT_ID_CHARACTERS_MAX) {
        id.truncate(end);
    }
    id
}

/// Keys of groups are text; a null is no group.
fn texts(map: Map<String, Value>) -> HashMap<String, String> {
    map.into_iter().filter_map(|(name, value)| Some((name, id_text(&value)?))).collect()
}

fn objects(map: Map<String, Value>) -> HashMap<String, Map<String, Value>> {
    let objects = map.into_iter().filter_map(|(name, value)| match value {
        Value::Object(map) => Some((name, map)),
        _ => None,
    });
    objects.collect()
}
