use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// The question to PostHog as JSON, without the token: equal questions are equal texts.
pub type Question = Arc<str>;

/// What decides about a person's flags beside the person. All of it is sent to PostHog, and an answer is remembered for
/// exactly these options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlagOptions {
    pub(crate) groups: BTreeMap<String, String>,
    pub(crate) person_properties: BTreeMap<String, Value>,
    pub(crate) group_properties: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) keys: Option<BTreeSet<String>>,
    geoip: Option<bool>,
}

impl FlagOptions {
    /// The person belongs to this group, `group("company", "acme")` for example.
    #[must_use]
    pub fn group(mut self, group_type: impl Into<String>, key: impl Into<String>) -> Self {
        self.groups.insert(group_type.into(), key.into());
        self
    }

    /// A property of the person for release conditions. It takes precedence over the value that PostHog has.
    #[must_use]
    pub fn person_property(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.person_properties.insert(key.into(), value.into());
        self
    }

    /// A property of a group for release conditions. It takes precedence over the value that PostHog has.
    #[must_use]
    pub fn group_property(
        mut self,
        group_type: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        self.group_properties.entry(group_type.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Asks for these flags only, which makes the answer smaller and cheaper. The default is all flags.
    #[must_use]
    pub fn only(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keys = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Whether PostHog may derive a location from this server's address. The default is the client's setting
    /// [for events](crate::PostHogBuilder::geoip).
    #[must_use]
    pub fn geoip(mut self, geoip: bool) -> Self {
        self.geoip = Some(geoip);
        self
    }

    /// The question about this person. `geoip` is the default for these options.
    pub(crate) fn question(&self, distinct_id: &str, geoip: bool) -> String {
        // Strings and JSON values, with strings for keys: nothing in it can fail to serialize.
        serde_json::to_string(&Body {
            distinct_id,
            groups: &self.groups,
            person_properties: &self.person_properties,
            group_properties: &self.group_properties,
            flag_keys_to_evaluate: self.keys.as_ref(),
            geoip_disable: !self.geoip.unwrap_or(geoip),
        })
        .unwrap_or_default()
    }
}

/// The fields as PostHog calls them. Their order is part of the question, whose hash is on disk.
#[derive(Serialize)]
struct Body<'a> {
    distinct_id: &'a str,
    groups: &'a BTreeMap<String, String>,
    person_properties: &'a BTreeMap<String, Value>,
    group_properties: &'a BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag_keys_to_evaluate: Option<&'a BTreeSet<String>>,
    geoip_disable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_is_the_same_text_and_another_is_not() {
        let options =
            || FlagOptions::default().group("company", "acme").group("team", "a").person_property("n", 1);
        let other_way =
            FlagOptions::default().person_property("n", 1).group("team", "a").group("company", "acme");
        assert_eq!(options().question("kim", true), other_way.question("kim", true));
        let all = [
            options().question("kim", true),
            options().question("kim", false),
            options().question("lee", true),
            options().group("team", "b").question("kim", true),
            options().person_property("n", 2).question("kim", true),
            options().group_property("team", "n", 2).question("kim", true),
            options().only(["a"]).question("kim", true),
        ];
        assert_eq!(BTreeSet::from(all.clone()).len(), all.len());
        assert_eq!(
            FlagOptions::default().question("k\"im", true),
            r#"{"distinct_id":"k\"im","groups":{},"person_properties":{},"group_properties":{},"geoip_disable":false}"#
        );
    }
}
