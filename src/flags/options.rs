use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// What is asked for, without the token.
pub(super) type Question = Arc<str>;

/// What beside the person decides about flags. Everything in it goes to PostHog and is part of what an answer is kept
/// under.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlagOptions {
    pub(super) groups: BTreeMap<String, String>,
    pub(super) person_properties: BTreeMap<String, Value>,
    pub(super) group_properties: BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(rename = "flag_keys_to_evaluate", skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<BTreeSet<String>>,
    #[serde(rename = "geoip_disable", skip_serializing_if = "Option::is_none")]
    geoip_disable: Option<bool>,
}

impl FlagOptions {
    /// The person belongs to this group: `group("company", "acme")`.
    #[must_use]
    pub fn group(mut self, group_type: impl Into<String>, key: impl Into<String>) -> Self {
        self.groups.insert(group_type.into(), key.into());
        self
    }

    /// A property of the person that release conditions may ask for, in place of the one that PostHog knows.
    #[must_use]
    pub fn person_property(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.person_properties.insert(key.into(), value.into());
        self
    }

    /// The same of a group.
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

    /// Asks for these flags alone: a smaller and cheaper answer. Default all.
    #[must_use]
    pub fn only(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keys = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Whether PostHog may work out a location from our address. Default as
    /// [for events](crate::PostHogBuilder::geoip).
    #[must_use]
    pub fn geoip(mut self, geoip: bool) -> Self {
        self.geoip_disable = Some(!geoip);
        self
    }

    /// The question as JSON, without the token: the same question is the same text.
    pub(super) fn question(mut self, distinct_id: &str, geoip: bool) -> String {
        self.geoip_disable.get_or_insert(!geoip);
        #[derive(Serialize)]
        struct Question<'a> {
            distinct_id: &'a str,
            #[serde(flatten)]
            options: FlagOptions,
        }
        // Strings and JSON values, with strings for keys: nothing in it can fail to serialize.
        serde_json::to_string(&Question { distinct_id, options: self }).unwrap_or_default()
    }
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
