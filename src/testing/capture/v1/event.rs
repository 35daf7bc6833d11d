//! A V1 batch, and what PostHog says of each of its events.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::Verdict;
use super::time::is_rfc3339;

/// The capture server's `CAPTURE_V1_MAX_EVENT_NAME_LENGTH` and `CAPTURE_V1_DISTINCT_ID_MAX_SIZE`, in bytes.
const TEXT_LIMIT: usize = 200;

/// The capture server's `ILLEGAL_DISTINCT_IDS`. Events under them are stored, but belong to nobody.
const RESERVED_IDS: [&str; 20] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

#[derive(Deserialize)]
pub struct Batch<'a> {
    pub created_at: String,
    #[serde(default, rename = "historical_migration")]
    _historical_migration: bool,
    #[serde(borrow)]
    pub batch: Vec<Event<'a>>,
}

/// A field that is missing or of a wrong type fails the batch.
#[derive(Deserialize)]
pub struct Event<'a> {
    pub event: String,
    pub uuid: String,
    #[serde(borrow)]
    distinct_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(rename = "session_id")]
    _session_id: Option<String>,
    #[serde(rename = "window_id")]
    _window_id: Option<String>,
    #[serde(default, rename = "options")]
    _options: Options,
    #[serde(borrow, default, deserialize_with = "even_null")]
    properties: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(rename = "cookieless_mode")]
    _cookieless_mode: Option<bool>,
    #[serde(rename = "disable_skew_correction")]
    _disable_skew_correction: Option<bool>,
    #[serde(rename = "product_tour_id")]
    _product_tour_id: Option<String>,
    #[serde(rename = "process_person_profile")]
    _process_person_profile: Option<bool>,
}

impl Event<'_> {
    /// PostHog's own verdict.
    pub fn verdict(&self) -> Verdict {
        let distinct_id = self.distinct_id.trim();
        if let Some(flaw) = self.flaw(distinct_id) {
            Verdict::new("drop").details(flaw)
        } else if RESERVED_IDS.iter().any(|id| distinct_id.eq_ignore_ascii_case(id)) {
            Verdict::new("warning").details("person_processing_disabled")
        } else {
            Verdict::new("ok")
        }
    }

    fn flaw(&self, distinct_id: &str) -> Option<&'static str> {
        match self.event.as_str() {
            "$performance_event" => return Some("dropped_performance_event"),
            "" => return Some("missing_event_name"),
            name if name.len() > TEXT_LIMIT => return Some("event_name_too_long"),
            _ => {}
        }
        if distinct_id.is_empty() {
            return Some("missing_distinct_id");
        }
        if distinct_id.len() > TEXT_LIMIT {
            return Some("distinct_id_too_large");
        }
        if !is_rfc3339(&self.timestamp) {
            return Some("invalid_event_timestamp");
        }
        let malformed = self.properties.is_some_and(|properties| !properties.get().starts_with('{'));
        malformed.then_some("malformed_event_properties")
    }
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}
