//! The remote configuration: what a server tells SDKs to capture, and how to send it.
//!
//! The fields are chosen by what their absence does. Without `autocapture_opt_out: false` a new visitor gets
//! no autocapture; without `gzip-js` bodies come uncompressed; a switch that is left out keeps the value a
//! browser has stored. `surveys` is left out, because posthog-js fetches a script even for `false`, and
//! `quotaLimited` too, which in any form breaks posthog-rs or mutes others.

use serde_json::{Map, Value, json};

/// What the SDKs of a project capture by themselves. An application that sets a switch in its own code wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Clicks, changes and submissions, as `$autocapture`.
    pub autocapture: bool,
    /// Positions of clicks and of the mouse, as `$$heatmap`.
    pub heatmaps: bool,
    /// Clicks that change nothing, as `$dead_click`.
    pub dead_clicks: bool,
    /// Loading and layout times, as `$web_vitals`.
    pub web_vitals: bool,
    /// Errors that nobody caught, as `$exception`.
    pub exceptions: bool,
    /// Whether flags are defined. For `false` posthog-js does not ask for flags, for anything but `true`
    /// Android does not.
    pub has_feature_flags: bool,
}

impl Default for RemoteConfig {
    /// As a new project of PostHog has it.
    fn default() -> Self {
        RemoteConfig {
            autocapture: true,
            heatmaps: false,
            dead_clicks: false,
            web_vitals: false,
            exceptions: false,
            has_feature_flags: false,
        }
    }
}

impl RemoteConfig {
    /// The fields as `/decide` and `/flags?config=true` have them among their own.
    pub fn fields(&self, token: &str) -> Map<String, Value> {
        let config = json!({
            "token": token,
            "supportedCompression": ["gzip", "gzip-js"],
            "hasFeatureFlags": self.has_feature_flags,
            "analytics": { "endpoint": "/i/v0/e/" },
            "elementsChainAsString": true,
            "autocapture_opt_out": !self.autocapture,
            "autocaptureExceptions": self.exceptions,
            "errorTracking": { "autocaptureExceptions": self.exceptions, "suppressionRules": [] },
            "capturePerformance": {
                "network_timing": true,
                "web_vitals": self.web_vitals,
                "web_vitals_allowed_metrics": null,
            },
            "captureDeadClicks": self.dead_clicks,
            "heatmaps": self.heatmaps,
            "sessionRecording": false,
            "productTours": false,
            "conversations": false,
            "logs": { "captureConsoleLogs": false },
            "defaultIdentifiedOnly": true,
        });
        match config {
            Value::Object(fields) => fields,
            _ => unreachable!("the literal is an object"),
        }
    }

    /// Body of `GET /array/<token>/config`; nothing for what cannot be a token, which is a 404.
    pub fn json(&self, token: &str) -> Option<String> {
        is_token(token).then(|| Value::Object(self.fields(token)).to_string())
    }

    /// Body of `GET /array/<token>/config.js`; nothing for what cannot be a token, which is a 404: the path
    /// is written into a script.
    pub fn script(&self, token: &str) -> Option<String> {
        let config = self.json(token)?;
        // In a script inside a page `<` could end it, and old engines take U+2028 and U+2029 for line ends.
        let config = config.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        let registry = "window._POSTHOG_REMOTE_CONFIG";
        Some(format!(
            "(function(){{{registry}={registry}||{{}};{registry}['{token}']={{config:{config},siteApps:[]}}}})();"
        ))
    }
}

fn is_token(token: &str) -> bool {
    (1..=64).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = concat!(
        r#"{"token":"phc_a","supportedCompression":["gzip","gzip-js"],"hasFeatureFlags":false,"#,
        r#""analytics":{"endpoint":"/i/v0/e/"},"elementsChainAsString":true,"autocapture_opt_out":false,"#,
        r#""autocaptureExceptions":false,"errorTracking":{"autocaptureExceptions":false,"suppressionRules":[]},"#,
        r#""capturePerformance":{"network_timing":true,"web_vitals":false,"web_vitals_allowed_metrics":null},"#,
        r#""captureDeadClicks":false,"heatmaps":false,"sessionRecording":false,"productTours":false,"#,
        r#""conversations":false,"logs":{"captureConsoleLogs":false},"defaultIdentifiedOnly":true}"#,
    );

    #[test]
    fn both_forms_say_the_same() {
        let config = RemoteConfig::default();
        assert_eq!(config.json("phc_a").as_deref(), Some(CONFIG));
        let script = format!(
            "(function(){{window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{{}};\
             window._POSTHOG_REMOTE_CONFIG['phc_a']={{config:{CONFIG},siteApps:[]}}}})();"
        );
        assert_eq!(config.script("phc_a"), Some(script));
    }

    #[test]
    fn each_switch_has_its_fields() {
        let off = RemoteConfig { autocapture: false, ..RemoteConfig::default() };
        let changed = |config: RemoteConfig, fields: &[(&str, Value)]| {
            let mut expected = off.fields("t");
            expected.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            assert_eq!(config.fields("t"), expected);
        };
        changed(RemoteConfig { autocapture: true, ..off }, &[("autocapture_opt_out", json!(false))]);
        changed(RemoteConfig { heatmaps: true, ..off }, &[("heatmaps", json!(true))]);
        changed(RemoteConfig { dead_clicks: true, ..off }, &[("captureDeadClicks", json!(true))]);
        changed(RemoteConfig { has_feature_flags: true, ..off }, &[("hasFeatureFlags", json!(true))]);
        let performance = json!({"network_timing": true, "web_vitals": true, "web_vitals_allowed_metrics": null});
        changed(RemoteConfig { web_vitals: true, ..off }, &[("capturePerformance", performance)]);
        let tracking = json!({"autocaptureExceptions": true, "suppressionRules": []});
        changed(
            RemoteConfig { exceptions: true, ..off },
            &[("autocaptureExceptions", json!(true)), ("errorTracking", tracking)],
        );
    }

    #[test]
    fn only_tokens_are_written_into_the_script() {
        let long = "a".repeat(65);
        for token in ["", "a'b", "a\"b", "</script>", "a b", "é", "a/b", "\u{2028}", &long] {
            assert_eq!(RemoteConfig::default().script(token), None, "{token}");
            assert_eq!(RemoteConfig::default().json(token), None, "{token}");
        }
    }
}
