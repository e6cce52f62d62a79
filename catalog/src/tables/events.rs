//! `hogflare_events`: one row per event.

use super::builder::ColumnBuilders;
use super::{Column, long, text, timestamp};

/// Group types that have a column of their own.
pub const GROUP_SLOTS: usize = 5;

/// An event as a row. Text is borrowed: it is copied once, into the Arrow buffers.
#[derive(Clone, Debug, Default)]
pub struct EventRow<'a> {
    pub uuid: &'a str,
    pub team_id: Option<i64>,
    pub event: &'a str,
    pub distinct_id: &'a str,
    /// Microseconds since 1970, UTC: when it happened, corrected for the client's clock.
    pub timestamp_us: i64,
    /// Microseconds since 1970, UTC: when it was received.
    pub created_at_us: i64,
    /// A JSON object, at least `{}`.
    pub properties: &'a str,
    pub context: Option<&'a str>,
    pub person_id: Option<&'a str>,
    pub person_created_at_us: Option<i64>,
    pub person_properties: Option<&'a str>,
    pub groups: [Option<&'a str>; GROUP_SLOTS],
    pub group_properties: Option<&'a str>,
    pub api_key: &'a str,
    pub extra: Option<&'a str>,
    /// `full`, `propertyless` or `force_upgrade`.
    pub person_mode: Option<&'a str>,
    pub promoted: Promoted<'a>,
}

/// Properties that have a column of their own.
#[derive(Clone, Debug, Default)]
pub struct Promoted<'a> {
    pub session_id: Option<&'a str>,
    pub window_id: Option<&'a str>,
    pub current_url: Option<&'a str>,
    pub pathname: Option<&'a str>,
    pub host: Option<&'a str>,
    pub page_title: Option<&'a str>,
    pub referrer: Option<&'a str>,
    pub referring_domain: Option<&'a str>,
    pub utm_source: Option<&'a str>,
    pub utm_medium: Option<&'a str>,
    pub utm_campaign: Option<&'a str>,
    pub utm_content: Option<&'a str>,
    pub utm_term: Option<&'a str>,
    pub browser: Option<&'a str>,
    pub browser_version: Option<&'a str>,
    pub os: Option<&'a str>,
    pub os_version: Option<&'a str>,
    pub device_type: Option<&'a str>,
    pub lib: Option<&'a str>,
    pub lib_version: Option<&'a str>,
    pub country: Option<&'a str>,
    pub region: Option<&'a str>,
    pub city: Option<&'a str>,
    pub timezone: Option<&'a str>,
    pub cf_colo: Option<&'a str>,
    pub cf_asn: Option<i64>,
}

pub(super) const COLUMNS: &[Column] = &[
    text("uuid", "Id of the event, lower-case UUID; retries of one event share it").required().bounded().bloom(),
    long("team_id", "Number of the project, if one is configured"),
    text("source", "What sent the event: posthog").required(),
    text("event", "Name of the event, such as $pageview").required().bounded(),
    text("distinct_id", "Id that the client gave the person or device").required().bounded().bloom(),
    timestamp("timestamp", "When it happened (UTC), corrected for the client's clock").required(),
    timestamp("created_at", "When it was received (UTC)").required(),
    text("properties", "All properties as a JSON object").required().document(),
    text("context", "Top-level context of the event as JSON").document(),
    text("person_id", "UUID of the person at the time of receipt").bounded().bloom(),
    timestamp("person_created_at", "When that person was first seen (UTC)"),
    text("person_properties", "That person's properties at the time of receipt, a JSON object").document(),
    text("group0", "Key of the group of the first group type"),
    text("group1", "Key of the group of the second group type"),
    text("group2", "Key of the group of the third group type"),
    text("group3", "Key of the group of the fourth group type"),
    text("group4", "Key of the group of the fifth group type"),
    text("group_properties", "Properties of the event's groups, a JSON object by group type").document(),
    text("api_key", "Project token").required().bounded(),
    text("extra", "Other top-level keys of the event as a JSON object, and $sent_at").document(),
    text("person_mode", "full, propertyless (no profile) or force_upgrade"),
    text("session_id", "Session of the client").bounded().bloom(),
    text("window_id", "Browser window or tab"),
    text("current_url", "URL of the page"),
    text("pathname", "Path of the page's URL"),
    text("host", "Host of the page's URL"),
    text("page_title", "Title of the page"),
    text("referrer", "Referring URL as sent, also $direct"),
    text("referring_domain", "Host of the referrer; null for direct visits and the own host"),
    text("utm_source", "Campaign source"),
    text("utm_medium", "Campaign medium"),
    text("utm_campaign", "Campaign name"),
    text("utm_content", "Campaign content"),
    text("utm_term", "Campaign term"),
    text("browser", "Name of the browser").bounded(),
    text("browser_version", "Version of the browser"),
    text("os", "Name of the operating system").bounded(),
    text("os_version", "Version of the operating system"),
    text("device_type", "Desktop, Mobile, Tablet …"),
    text("lib", "SDK that sent the event"),
    text("lib_version", "Version of that SDK"),
    text("country", "Country of the client, ISO 3166-1 alpha-2").bounded(),
    text("region", "Region of the client"),
    text("city", "City of the client"),
    text("timezone", "Time zone of the client, IANA name"),
    text("cf_colo", "Cloudflare data centre that took the request"),
    long("cf_asn", "Autonomous system number of the client"),
    text("_writer", "Id of the writer that stored the row").bounded(),
    long("_position", "Number of the row in its writer's sequence, from 1, without gaps"),
];

impl EventRow<'_> {
    /// Appends the row; the order is that of [`COLUMNS`].
    pub(super) fn append(&self, columns: &mut ColumnBuilders, position: u64) {
        let promoted = &self.promoted;
        columns.text(Some(self.uuid));
        columns.long(self.team_id);
        columns.text(Some("posthog"));
        columns.text(Some(self.event));
        columns.text(Some(self.distinct_id));
        columns.long(Some(self.timestamp_us));
        columns.long(Some(self.created_at_us));
        columns.text(Some(self.properties));
        columns.text(self.context);
        columns.text(self.person_id);
        columns.long(self.person_created_at_us);
        columns.text(self.person_properties);
        for group in self.groups {
            columns.text(group);
        }
        columns.text(self.group_properties);
        columns.text(Some(self.api_key));
        columns.text(self.extra);
        columns.text(self.person_mode);
        columns.text(promoted.session_id);
        columns.text(promoted.window_id);
        columns.text(promoted.current_url);
        columns.text(promoted.pathname);
        columns.text(promoted.host);
        columns.text(promoted.page_title);
        columns.text(promoted.referrer);
        columns.text(promoted.referring_domain);
        columns.text(promoted.utm_source);
        columns.text(promoted.utm_medium);
        columns.text(promoted.utm_campaign);
        columns.text(promoted.utm_content);
        columns.text(promoted.utm_term);
        columns.text(promoted.browser);
        columns.text(promoted.browser_version);
        columns.text(promoted.os);
        columns.text(promoted.os_version);
        columns.text(promoted.device_type);
        columns.text(promoted.lib);
        columns.text(promoted.lib_version);
        columns.text(promoted.country);
        columns.text(promoted.region);
        columns.text(promoted.city);
        columns.text(promoted.timezone);
        columns.text(promoted.cf_colo);
        columns.long(promoted.cf_asn);
        columns.finish_row(position);
    }
}
