use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthog_rs::{Event, RequestContext};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reported::Reported;
use crate::ErrorKind;
use crate::delivery::Queue;
use crate::monitor::Failure;

/// The flags of one person, as far as they are known, and where each value comes from. Never an error: what is not
/// known is your default.
///
/// Reading a flag with [`is_enabled`](Self::is_enabled) or [`variant`](Self::variant) captures a
/// `$feature_flag_called` event, once for each person and value, as the SDK does; [`flag`](Self::flag) and
/// [`payload`](Self::payload) do not. The event tells the source: `flag_source` is `remote`,
/// `local_evaluation`, `last_known_good` or `default`, `flag_age_seconds` how old a last known good value or the definitions
/// are, and `$feature_flag_error` why it is neither remote nor local. It
/// is never minimised, as some of the SDK's are.
///
/// # Clone
///
/// Clones share everything.
#[derive(Clone)]
pub struct Flags(Arc<Snapshot>);

pub(super) struct Snapshot {
    pub(super) distinct_id: String,
    pub(super) groups: BTreeMap<String, String>,
    pub(super) context: RequestContext,
    pub(super) flags: BTreeMap<String, Flag>,
    pub(super) request_id: Option<String>,
    pub(super) trouble: Trouble,
    /// `None` where nobody is to be told: no person, or a disabled client.
    pub(super) reporter: Option<Reporter>,
}

/// Why values are not remote.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    pub(super) failure: Option<Failure>,
    pub(super) is_partial: bool,
    pub(super) over_quota: bool,
}

/// Where `$feature_flag_called` goes.
pub(super) struct Reporter {
    pub(super) queue: Arc<Queue>,
    pub(super) reported: Arc<Reported>,
}

/// A flag's value for one person.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flag {
    /// Whether it is on.
    pub enabled: bool,
    /// Which variant, if it has some and is on.
    pub variant: Option<String>,
    /// The JSON that belongs to the value.
    pub payload: Option<Value>,
    /// Where it comes from.
    pub source: FlagSource,
    about: About,
}

/// What only `$feature_flag_called` tells.
#[derive(Clone, Debug, PartialEq)]
struct About {
    id: Option<u64>,
    version: Option<u64>,
    reason: Option<String>,
}

/// What PostHog said of a flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluated {
    pub(super) enabled: bool,
    pub(super) variant: Option<String>,
    pub(super) payload: Option<Value>,
    pub(super) id: Option<u64>,
    pub(super) version: Option<u64>,
    pub(super) reason: Option<String>,
}

/// Where a flag's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlagSource {
    /// PostHog, just now.
    Remote,
    /// [Local evaluation](crate::PostHogBuilder::local_evaluation).
    Local {
        /// How long ago PostHog confirmed the definitions: up to the poll interval when all is well.
        age: Duration,
    },
    /// PostHog, a while ago.
    LastKnownGood {
        /// How long ago.
        age: Duration,
    },
    /// You: nothing is known of the flag.
    Default,
}

impl Flags {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(snapshot))
    }

    /// Nothing is known, and nobody is told.
    pub(crate) fn unknown(distinct_id: String, context: RequestContext) -> Self {
        Self::new(Snapshot {
            distinct_id,
            groups: BTreeMap::new(),
            context,
            flags: BTreeMap::new(),
            request_id: None,
            trouble: Trouble::default(),
            reporter: None,
        })
    }

    /// Whether the flag is on for this person; `default` when that is not known.
    pub fn is_enabled(&self, key: &str, default: bool) -> bool {
        self.called(key).map_or(default, |flag| flag.enabled)
    }

    /// The variant that this person gets; `default` when that is not known, when the flag is off, and when it has no
    /// variants.
    pub fn variant<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.called(key).and_then(|flag| flag.variant.as_deref()).unwrap_or(default)
    }

    /// The JSON that belongs to the flag's value for this person.
    pub fn payload(&self, key: &str) -> Option<&Value> {
        self.flag(key)?.payload.as_ref()
    }

    /// All that is known of the flag, its [source](Flag::source) too.
    pub fn flag(&self, key: &str) -> Option<&Flag> {
        self.0.flags.get(key)
    }

    /// Where the flag's value comes from.
    pub fn source(&self, key: &str) -> FlagSource {
        self.flag(key).map_or(FlagSource::Default, |flag| flag.source)
    }

    /// The flags that something is known of.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Flag)> {
        self.0.flags.iter().map(|(key, flag)| (key.as_str(), flag))
    }

    /// Why the values are not remote, or not all of them.
    pub fn error(&self) -> Option<ErrorKind> {
        let Trouble { failure, over_quota, .. } = self.0.trouble;
        failure.map(|failure| failure.kind).or(over_quota.then_some(ErrorKind::QuotaExceeded))
    }

    /// Notes on an event which values this person had: `$feature/KEY` for each, and `$active_feature_flags`.
    pub fn attach(&self, event: &mut Event) {
        let active: Vec<_> = self.iter().filter(|(_, flag)| flag.enabled).map(|(key, _)| key).collect();
        // A list of strings, and a string or a bool: nothing in it can fail to serialize.
        let _ = event.insert_prop("$active_feature_flags", active);
        for (key, flag) in self.iter() {
            let _ = event.insert_prop(format!("$feature/{key}"), flag.response());
        }
    }

    fn called(&self, key: &str) -> Option<&Flag> {
        let flag = self.flag(key);
        self.0.report(key, flag);
        flag
    }
}

impl Snapshot {
    fn report(&self, key: &str, flag: Option<&Flag>) {
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

impl Flag {
    pub(super) fn new(evaluated: Evaluated, source: FlagSource) -> Self {
        let Evaluated { enabled, variant, payload, id, version, reason } = evaluated;
        Self { enabled, variant, payload, source, about: About { id, version, reason } }
    }

    /// As PostHog writes it: the variant, else whether it is on.
    fn response(&self) -> Value {
        match &self.variant {
            Some(variant) if self.enabled => variant.as_str().into(),
            _ => self.enabled.into(),
        }
    }
}

impl FlagSource {
    /// As it stands in `$feature_flag_called`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local { .. } => "local_evaluation",
            Self::LastKnownGood { .. } => "last_known_good",
            Self::Default => "default",
        }
    }
}

/// Without the person.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("flags", &self.0.flags.len()).field("error", &self.error()).finish()
    }
}
