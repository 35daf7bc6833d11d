//! Exposure events, `$feature_flag_called`: one for each person's value of a flag, with the source of the value.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use posthog_rs::{Event, RequestContext};
use quick_cache::sync::Cache;
use serde_json::{Value, json};

use super::flag::{Flag, FlagSource};
use crate::ErrorKind;
use crate::delivery::Producer;
use crate::monitor::Failure;

/// Captures exposure events, each value of a person once, as the SDK does.
pub struct Exposures {
    producer: Arc<Producer>,
    /// Hashes of the values that were reported, so that they are not reported again. Bounded: a value that has been
    /// forgotten is reported again.
    reported: Cache<u64, ()>,
}

/// 50,000 values of flags take a few megabytes.
const REMEMBERED: usize = 50_000;

/// What all exposure events of one [`Flags`](super::Flags) have in common.
#[derive(Default)]
pub struct ExposureContext {
    pub distinct_id: String,
    pub groups: BTreeMap<String, String>,
    pub request: RequestContext,
    /// PostHog's id of its answer.
    pub request_id: Option<String>,
    pub degradation: Degradation,
}

/// Why values are not remote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Degradation {
    pub failure: Option<Failure>,
    pub is_partial: bool,
    pub over_quota: bool,
}

impl Exposures {
    pub fn new(producer: Arc<Producer>) -> Self {
        Self { producer, reported: Cache::new(REMEMBERED) }
    }

    /// Captures the event, unless this value of the flag was reported before.
    pub fn report(&self, context: &ExposureContext, key: &str, flag: Option<&Flag>) {
        let response = flag.map_or(Value::Null, Flag::response);
        if !self.is_first(context, key, &response) {
            return;
        }
        let mut event = Event::new("$feature_flag_called".to_owned(), context.distinct_id.clone());
        for (name, value) in properties(context, key, flag, response) {
            // A JSON value always serializes.
            let _ = event.insert_prop(name, value);
        }
        context.groups.iter().for_each(|(group_type, group)| event.add_group(group_type, group));
        context.request.apply_to_event(&mut event);
        self.producer.capture_as_is(event);
    }

    /// Whether this is the first time, as far as is remembered.
    fn is_first(&self, context: &ExposureContext, key: &str, response: &Value) -> bool {
        let mut hasher = DefaultHasher::new();
        (&context.distinct_id, &context.groups, key, response.to_string()).hash(&mut hasher);
        let exposure = hasher.finish();
        let is_first = self.reported.get(&exposure).is_none();
        self.reported.insert(exposure, ());
        is_first
    }
}

fn properties(
    context: &ExposureContext,
    key: &str,
    flag: Option<&Flag>,
    response: Value,
) -> Vec<(String, Value)> {
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
    if let Some(Flag { payload, details, .. }) = flag {
        add("$feature_flag_payload", payload.clone());
        add("$feature_flag_id", details.id.map(Value::from));
        add("$feature_flag_version", details.version.map(Value::from));
        add("$feature_flag_reason", details.reason.clone().map(Value::from));
    }
    // A local value owes nothing to the request, which may have been made for other flags.
    if !is_local {
        add("$feature_flag_request_id", context.request_id.clone().map(Value::from));
        let errors = errors(context.degradation, flag);
        add("$feature_flag_error", (!errors.is_empty()).then(|| errors.join(",").into()));
    }
    properties
}

/// Why the value is not remote, in the SDK's words.
fn errors(degradation: Degradation, flag: Option<&Flag>) -> Vec<String> {
    let Degradation { failure, is_partial, over_quota } = degradation;
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

impl fmt::Debug for Exposures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposures").field("reported", &self.reported.len()).finish_non_exhaustive()
    }
}
