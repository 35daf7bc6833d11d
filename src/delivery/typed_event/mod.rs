mod error;
mod fresh_uuid;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use memchr::{memchr_iter, memmem};
use posthog_rs::{Event, RequestContext};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::admit::admit_names;
use super::enrichment::Own;
use super::json::{self, Budget, DEEPEST};
use super::ledger::DropReason;
use super::scratch::Scratch;
pub use error::PropertiesError;
use fresh_uuid::fresh_uuid;
use write::write;

/// An event whose properties are a type of yours, written straight to JSON.
///
/// This is the fast way in, because there is no map of values in between, as there is in a [`posthog_rs::Event`].
/// [`new`](Self::new) writes the properties, and [`capture`](crate::PostHog::capture) copies them into the event's JSON.
///
/// ```
/// use posthog_health::{PostHog, TypedEvent};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct OrderPlaced<'a> {
///     order_id: &'a str,
///     amount: f64,
///     #[serde(rename = "$groups")]
///     groups: Groups<'a>,
/// }
///
/// #[derive(Serialize)]
/// struct Groups<'a> {
///     company: &'a str,
/// }
///
/// # fn example(posthog: &PostHog) -> Result<(), posthog_health::PropertiesError> {
/// let order = OrderPlaced { order_id: "ord-1", amount: 9.5, groups: Groups { company: "acme" } };
/// posthog.capture(TypedEvent::new("order placed", "user-123", &order)?);
/// # Ok(()) }
/// ```
///
/// It has the guarantees of every other event: `capture` applies the [`RequestContext`] and takes the time, the event's own
/// properties win over added ones, and an event that PostHog would reject is refused and counted. PostHog's own properties
/// (`$groups`, `$set`, `$process_person_profile`) are members of your type with that name.
///
/// With a [`before_send`](crate::PostHogBuilder::before_send) hook, it is parsed into an [`Event`] for the hook, with its
/// numbers as `serde_json::Value` keeps them. It then costs more than an `Event`, and the speed is gone.
///
/// # Clone
///
/// A clone is the same event, with the same uuid: captured twice, it counts once.
#[derive(Clone)]
pub struct TypedEvent {
    uuid: Uuid,
    timestamp: Option<SystemTime>,
    /// `"event":…,"distinct_id":…,"properties":{…`, with the object still open and a comma behind each member.
    json: Vec<u8>,
    /// Where its members begin.
    members: usize,
    own: Own,
    refused: Option<DropReason>,
}

impl TypedEvent {
    /// Writes the event with these properties, and gives it a uuid.
    ///
    /// # Errors
    ///
    /// [`PropertiesError`] when `properties` are no JSON object, or their `Serialize` fails or panics. Nothing was captured
    /// then, and nothing is counted.
    pub fn new<P: Serialize + ?Sized>(
        event: &str,
        distinct_id: &str,
        properties: &P,
    ) -> Result<Self, PropertiesError> {
        Scratch::with(|scratch| {
            let out = &mut scratch.json;
            out.clear();
            let (members, written) = write(out, event, distinct_id, properties)?;
            let refused = admit_names(event, distinct_id).and(written).err();
            let json = out.as_slice().to_vec();
            let mut event =
                Self { uuid: fresh_uuid(), timestamp: None, json, members, own: Own::default(), refused };
            if Own::is_mentioned(event.members()) || has_disguise(event.members()) {
                event.own = Own::of(|name| event.has(name));
            }
            Ok(event)
        })
    }

    /// With this uuid: an import that is run again gives an event the same one, so that PostHog counts it once.
    #[must_use]
    pub fn with_uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = uuid;
        self
    }

    /// As of this time, to the microsecond, and not of its capture. A time before 1970 reads as 1970, one after 9999 as
    /// the end of 9999.
    #[must_use]
    pub fn with_timestamp(mut self, at: SystemTime) -> Self {
        self.timestamp = Some(at);
        self
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// `None`: that of its capture.
    pub(crate) fn timestamp(&self) -> Option<SystemTime> {
        self.timestamp
    }

    /// Whether it may enter.
    pub(crate) fn admitted(&self) -> Result<(), DropReason> {
        self.refused.map_or(Ok(()), Err)
    }

    /// What is written of it: ends in an object that is open, after the comma of its last member.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    pub(crate) fn own(&self) -> Own {
        self.own
    }

    /// Adds what the context has and the event has not.
    pub(crate) fn apply(&mut self, context: &RequestContext) {
        let mut defaults = Event::new("", "");
        context.apply_to_event(&mut defaults);
        for (name, value) in defaults.properties() {
            if !self.has(name) {
                let written = json::member(&mut self.json, name, value, Budget::new(DEEPEST, usize::MAX));
                self.refused = self.refused.or(written.err().map(DropReason::from));
                self.own.add(name);
            }
        }
    }

    /// The same as an event of the SDK's.
    pub(crate) fn into_event(self) -> Option<Event> {
        #[derive(Deserialize)]
        struct Parts {
            event: String,
            distinct_id: String,
            properties: Map<String, Value>,
        }
        let whole = [b"{", without_comma(&self.json), b"}}"].concat();
        let Parts { event, distinct_id, properties } = serde_json::from_slice(&whole).ok()?;
        let mut event = Event::new(event, distinct_id);
        event.set_uuid(self.uuid);
        for (name, value) in properties {
            event.insert_prop(name, value).ok()?;
        }
        Some(event)
    }

    fn members(&self) -> &[u8] {
        &self.json[self.members..]
    }

    /// Whether there is a member of this name. Parses only where the name is found in the text, or may be in disguise.
    fn has(&self, name: &str) -> bool {
        let text = Value::from(name).to_string();
        let is_mentioned = memmem::find(self.members(), text.as_bytes()).is_some();
        (is_mentioned || has_disguise(self.members())) && {
            let whole = [b"{", without_comma(self.members()), b"}"].concat();
            serde_json::from_slice::<HashMap<String, IgnoredAny>>(&whole)
                .is_ok_and(|all| all.contains_key(name))
        }
    }
}

/// Shows no property.
impl fmt::Debug for TypedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedEvent").field("bytes", &self.json.len()).finish_non_exhaustive()
    }
}

/// Whether a letter may be written as its number, as in raw values.
fn has_disguise(json: &[u8]) -> bool {
    memchr_iter(b'\\', json).any(|at| json.get(at + 1) == Some(&b'u'))
}

fn without_comma(json: &[u8]) -> &[u8] {
    json.strip_suffix(b",").unwrap_or(json)
}
