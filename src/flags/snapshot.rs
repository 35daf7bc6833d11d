use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use posthog_rs::{Event, RequestContext};
use serde_json::Value;

use super::called::Reporter;
use super::flag::{Flag, FlagSource};
use crate::ErrorKind;
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

/// Without the person.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("flags", &self.0.flags.len()).field("error", &self.error()).finish()
    }
}
