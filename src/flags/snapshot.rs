use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use posthog_rs::Event;
use serde_json::Value;

use super::exposure::{Degradation, ExposureContext, Exposures};
use super::flag::{Flag, FlagSource};
use crate::ErrorKind;

/// The flags of one person, each with the source of its value. A flag that nothing is known of has the default that you
/// pass; reading a flag is never an error.
///
/// # Sources
///
/// [`PostHog::flags`](crate::PostHog::flags) takes each value from the first of these sources that has it:
///
/// ```text
///  flags(person) ─► local evaluation, if it is on: all of them? ─ yes ─► local
///                        │ no
///                        ▼
///                  breaker closed? ─ yes ─► [ circuit breaker ► observe ► timeout ] ─► /flags ─► remote
///                        │ no                                                    │ no answer, or a part of one
///                        ▼                                                       ▼
///                  last known good of that person, by age ───────────────► your default
/// ```
///
/// - With [local evaluation](crate::PostHogBuilder::local_evaluation), PostHog is asked for a person only until the
///   definitions have arrived, and when a flag needs something that only PostHog knows. The flags that could be evaluated
///   locally keep their local values.
/// - A request takes [`FlagsConfig::timeout`](crate::FlagsConfig::timeout) at most, 1 s by default, and is not repeated.
///   Concurrent callers with the same question share one request.
/// - While the circuit breaker is not closed, callers do not wait. They get the known values at once, and one request in
///   the background finds out whether PostHog is back.
/// - Each answer is remembered for its person and everything else that can change it (groups, properties, keys). It
///   stands in for a missing answer for the time of
///   [`FlagsConfig::last_known_good`](crate::FlagsConfig::last_known_good). With a spool, it also survives a restart, so
///   a process that starts in an outage answers as the process before it did.
/// - Flags have a circuit breaker of their own: they keep working when capture fails, and capture keeps working when they
///   fail.
///
/// # Exposure events
///
/// Reading a flag with [`is_enabled`](Self::is_enabled) or [`variant`](Self::variant) captures a
/// `$feature_flag_called` event, once for each person and value, as the SDK does. [`flag`](Self::flag) and
/// [`payload`](Self::payload) capture nothing. The event has three properties about the source: `flag_source` is
/// `remote`, `local_evaluation`, `last_known_good` or `default`; `flag_age_seconds` is the age of a last known good value
/// or of the definitions; `$feature_flag_error` says why a value is neither remote nor local. The event is never
/// minimised, as some of the SDK's are.
///
/// # Billing
///
/// PostHog bills each call of [`PostHog::flags`](crate::PostHog::flags) that it answers, as it does with the SDK. Keep the
/// `Flags` for as long as they serve, a web request for example.
///
/// # Clone
///
/// Clones share everything.
#[derive(Clone)]
pub struct Flags(Arc<Snapshot>);

struct Snapshot {
    flags: BTreeMap<String, Flag>,
    context: ExposureContext,
    /// `None` if there is nothing to report: no person, or a disabled client.
    exposures: Option<Arc<Exposures>>,
}

impl Flags {
    pub(crate) fn new(
        flags: BTreeMap<String, Flag>,
        context: ExposureContext,
        exposures: Arc<Exposures>,
    ) -> Self {
        Self(Arc::new(Snapshot { flags, context, exposures: Some(exposures) }))
    }

    /// Nothing is known, and reading captures nothing.
    pub(crate) fn unknown(distinct_id: String) -> Self {
        let context = ExposureContext { distinct_id, ..ExposureContext::default() };
        Self(Arc::new(Snapshot { flags: BTreeMap::new(), context, exposures: None }))
    }

    /// Returns whether the flag is on for this person, or `default` if that is not known.
    pub fn is_enabled(&self, key: &str, default: bool) -> bool {
        self.expose(key).map_or(default, |flag| flag.enabled)
    }

    /// Returns the person's variant, or `default` if it is not known, if the flag is off, or if it has no variants.
    pub fn variant<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.expose(key).and_then(|flag| flag.variant.as_deref()).unwrap_or(default)
    }

    /// Returns the JSON that belongs to the flag's value for this person.
    pub fn payload(&self, key: &str) -> Option<&Value> {
        self.flag(key)?.payload.as_ref()
    }

    /// Returns everything that is known of the flag, including its [source](Flag::source).
    pub fn flag(&self, key: &str) -> Option<&Flag> {
        self.0.flags.get(key)
    }

    /// Returns where the flag's value comes from.
    pub fn source(&self, key: &str) -> FlagSource {
        self.flag(key).map_or(FlagSource::Default, |flag| flag.source)
    }

    /// Iterates over the flags whose values are known.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Flag)> {
        self.0.flags.iter().map(|(key, flag)| (key.as_str(), flag))
    }

    /// Returns why the values, or some of them, are not remote.
    pub fn error(&self) -> Option<ErrorKind> {
        let Degradation { failure, over_quota, .. } = self.0.context.degradation;
        failure.map(|failure| failure.kind).or(over_quota.then_some(ErrorKind::QuotaExceeded))
    }

    /// Adds the person's values to an event: `$feature/KEY` for each flag, and `$active_feature_flags`.
    pub fn attach(&self, event: &mut Event) {
        let active: Vec<_> = self.iter().filter(|(_, flag)| flag.enabled).map(|(key, _)| key).collect();
        // A list of strings, and a string or a bool: nothing in it can fail to serialize.
        let _ = event.insert_prop("$active_feature_flags", active);
        for (key, flag) in self.iter() {
            let _ = event.insert_prop(format!("$feature/{key}"), flag.response());
        }
    }

    /// Looks the flag up for a caller that acts on its value.
    fn expose(&self, key: &str) -> Option<&Flag> {
        let flag = self.flag(key);
        if let Some(exposures) = &self.0.exposures {
            exposures.report(&self.0.context, key, flag);
        }
        flag
    }
}

/// Without the person.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("flags", &self.0.flags.len()).field("error", &self.error()).finish()
    }
}
