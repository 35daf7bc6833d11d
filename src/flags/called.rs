//! `$feature_flag_called`: one event for each person's value of a flag, which tells where it came from.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use posthog_rs::Event;
use quick_cache::sync::Cache;
use serde_json::{Value, json};

use super::flag::{Flag, FlagSource};
use super::snapshot::{Snapshot, Trouble};
use crate::ErrorKind;
use crate::delivery::Queue;

/// Where the event goes.
pub(super) struct Reporter {
    pub(super) queue: Arc<Queue>,
    pub(super) reported: Arc<Reported>,
}

impl Snapshot {
    /// Captures the event, unless this value of the flag was told before.
    pub(super) fn report(&self, key: &str, flag: Option<&Flag>) {
        let Some(Reporter { queue, reported }) = &self.reporter else { return };
        let response = flag.map_or(Value::Null, Flag::response);
        if !reported.is_news(&self.distinct_id, &self.groups, key, &response) {
            return;
        }
        let mut event = Event::new("$feature_flag_called".to_owned(), self.distinct_id.clone());
        for (name, value) in self.about(key, flag, response) {
            // JSON is JSON.
            let _ = event.insert_prop(name, value);
        }
        self.groups.iter().for_each(|(group_type, group)| event.add_group(group_type, group));
        self.context.apply_to_event(&mut event);
        queue.capture(event);
    }

    fn about(&self, key: &str, flag: Option<&Flag>, response: Value) -> Vec<(String, Value)> {
        let source = flag.map_or(FlagSource::Default, |flag| flag.source);
        let is_local = matches!(source, FlagSource::Local { .. });
        let mut properties = vec![
            ("$feature_flag".to_owned(), json!(key)),
            (format!("$feature/{key}"), response.clone()),
            ("$feature_flag_response".to_owned(), response),
            ("locally_evaluated".to_owned(), json!(is_local)),
        ];
        let mut add = |name: &str, value: Option<Value>| {
            properties.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("flag_source", Some(json!(source.as_str())));
        if let FlagSource::LastKnownGood { age } | FlagSource::Local { age } = source {
            add("flag_age_seconds", Some(json!(age.as_secs())));
        }
        if let Some(Flag { payload, about, .. }) = flag {
            add("$feature_flag_payload", payload.clone());
            add("$feature_flag_id", about.id.map(Value::from));
            add("$feature_flag_version", about.version.map(Value::from));
            add("$feature_flag_reason", about.reason.clone().map(Value::from));
        }
        if !is_local {
            add("$feature_flag_request_id", self.request_id.clone().map(Value::from));
            let errors = self.errors(flag);
            add("$feature_flag_error", (!errors.is_empty()).then(|| errors.join(",").into()));
        }
        properties
    }

    /// In the SDK's words.
    fn errors(&self, flag: Option<&Flag>) -> Vec<String> {
        let Trouble { failure, is_partial, over_quota } = self.trouble;
        let request = failure.map(|failure| match (failure.kind, failure.status) {
            (ErrorKind::Timeout, _) => "timeout".to_owned(),
            (_, Some(status)) => format!("api_error_{status}"),
            (_, None) => "connection_error".to_owned(),
        });
        let word = |is: bool, word: &str| is.then(|| word.to_owned());
        request
            .into_iter()
            .chain(word(is_partial, "errors_while_computing_flags"))
            .chain(word(over_quota, "quota_limited"))
            .chain(word(flag.is_none(), "flag_missing"))
            .collect()
    }
}

/// Which flags were reported as called, so that each person's value of a flag is one event, as with the SDK. Bounded:
/// what was forgotten is reported again.
#[derive(Debug)]
pub(super) struct Reported(Cache<u64, ()>);

/// 50,000 values of flags; a few megabytes.
const REMEMBERED: usize = 50_000;

impl Default for Reported {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Reported {
    /// Whether this is the first time, as far as is remembered.
    fn is_news(
        &self,
        distinct_id: &str,
        groups: &BTreeMap<String, String>,
        key: &str,
        response: &Value,
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        (distinct_id, groups, key, response.to_string()).hash(&mut hasher);
        let called = hasher.finish();
        let is_news = self.0.get(&called).is_none();
        self.0.insert(called, ());
        is_news
    }
}
