//! Who asks for flags, and for which.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::GROUP_TYPES_MAX;
use super::flag::{Flag, Runtime};

static NO_PROPERTIES: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
static NO_GROUPS: LazyLock<HashMap<String, String>> = LazyLock::new(HashMap::new);
static NO_GROUP_PROPERTIES: LazyLock<HashMap<String, Map<String, Value>>> = LazyLock::new(HashMap::new);
static NO_GROUP_TYPES: [Option<String>; GROUP_TYPES_MAX] = [const { None }; GROUP_TYPES_MAX];

/// Everything that the answer depends on, besides the flags.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub distinct_id: &'a str,
    /// For flags that are spread over devices; without one their conditions about people are off.
    pub device_id: Option<&'a str>,
    /// The id whose buckets are kept by flags that ensure the continuity of the experience.
    pub continuity_id: Option<&'a str>,
    /// What is stored, overlaid with what was sent: see [`Question::merge`]. Nothing is added.
    pub person_properties: &'a Map<String, Value>,
    /// Keys of groups by their types.
    pub groups: &'a HashMap<String, String>,
    /// By group type; merged like those of the person.
    pub group_properties: &'a HashMap<String, Map<String, Value>>,
    /// Of the project; where one is missing, the file's mapping counts.
    pub group_types: &'a [Option<String>; GROUP_TYPES_MAX],
    pub selection: Selection<'a>,
    /// Microseconds since 1970, for relative dates.
    pub now_us: i64,
}

impl<'a> Question<'a> {
    /// Asks for all flags, about somebody of whom only the id is known.
    pub fn new(distinct_id: &'a str, now_us: i64) -> Question<'a> {
        Question {
            distinct_id,
            device_id: None,
            continuity_id: None,
            person_properties: &NO_PROPERTIES,
            groups: &NO_GROUPS,
            group_properties: &NO_GROUP_PROPERTIES,
            group_types: &NO_GROUP_TYPES,
            selection: Selection::default(),
            now_us,
        }
    }

    /// Stored properties, with those of the request in the place of the ones of the same name.
    pub fn merge<'b>(
        stored: Option<&'b Map<String, Value>>,
        sent: &'b Map<String, Value>,
    ) -> Cow<'b, Map<String, Value>> {
        match stored {
            None => Cow::Borrowed(sent),
            Some(stored) if sent.is_empty() => Cow::Borrowed(stored),
            Some(stored) => {
                let mut merged = stored.clone();
                merged.extend(sent.iter().map(|(key, value)| (key.clone(), value.clone())));
                Cow::Owned(merged)
            }
        }
    }
}

/// Which flags are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Only these. What they depend on is evaluated, too.
    pub flag_keys: Option<&'a [String]>,
    /// Flags that name contexts must have one of these; all flags pass if there are none.
    pub contexts: &'a [String],
    /// Where the answer is used. If that is not known, only flags for all runtimes pass, as in PostHog.
    pub runtime: Option<Runtime>,
}

impl Default for Selection<'_> {
    /// All flags.
    fn default() -> Self {
        Selection { flag_keys: None, contexts: &[], runtime: Some(Runtime::All) }
    }
}

impl Selection<'_> {
    pub(super) fn admits(&self, flag: &Flag) -> bool {
        let runtime_fits = flag.runtime == Runtime::All
            || self.runtime.is_some_and(|runtime| runtime == Runtime::All || runtime == flag.runtime);
        let context_fits = self.contexts.is_empty()
            || flag.contexts.is_empty()
            || flag.contexts.iter().any(|own| self.contexts.iter().any(|context| **own == **context));
        runtime_fits && context_fits
    }
}

/// What the SDKs on servers, and the libraries people write their own with, call themselves.
const SERVER_AGENTS: [&str; 5] = ["posthog-", "python-requests/", "python-urllib", "go-http-client/", "node-fetch"];
const CLIENT_AGENTS: [&str; 6] =
    ["mozilla/", "posthog-js", "posthog-ios/", "posthog-android/", "posthog-react-native/", "posthog-flutter/"];

impl Runtime {
    /// Where a request comes from: what it says, what its `User-Agent` is known for, or whether it has
    /// headers that only browsers send (`Origin`, `Referer`, `Sec-Fetch-Site`).
    pub fn of_request(said: Option<Runtime>, user_agent: Option<&str>, has_browser_headers: bool) -> Option<Runtime> {
        if said.is_some() {
            return said;
        }
        let agent = user_agent.unwrap_or_default().to_ascii_lowercase();
        let is_one_of = |agents: &[&str]| agents.iter().any(|known| agent.starts_with(known));
        if is_one_of(&CLIENT_AGENTS) {
            Some(Runtime::Client)
        } else if is_one_of(&SERVER_AGENTS) {
            Some(Runtime::Server)
        } else {
            has_browser_headers.then_some(Runtime::Client)
        }
    }
}
