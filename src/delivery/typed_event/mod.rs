mod error;
mod fresh_uuid;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::time::SystemTime;

use memchr::{memchr_iter, memmem};
use posthog_rs::{Event, RequestContext};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::admit::{admit_names, cut_id};
use super::enrichment::Own;
use super::json::{self, Budget, DEEPEST};
use super::ledger::DropReason;
use super::scratch::Scratch;
use crate::api::event_json::{self, LIFTED, Members, lifted};
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
    /// The members that capture V1 wants elsewhere, with a comma behind each. They are written last.
    lifted: Vec<u8>,
    own: Own,
    is_id_cut: bool,
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
            let kept_id = cut_id(distinct_id);
            let (members, written) = write(out, event, kept_id, properties)?;
            let mut event = Self {
                uuid: fresh_uuid(),
                timestamp: None,
                json: out.as_slice().to_vec(),
                members,
                lifted: Vec::new(),
                own: Own::default(),
                is_id_cut: kept_id.len() < distinct_id.len(),
                refused: admit_names(event, kept_id).and(written).err(),
            };
            if is_special_mentioned(event.members()) {
                event.look_into();
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

    /// What is written after all others: members with a comma behind each.
    pub(crate) fn lifted(&self) -> &[u8] {
        &self.lifted
    }

    pub(crate) fn own(&self) -> Own {
        self.own
    }

    pub(crate) fn is_id_cut(&self) -> bool {
        self.is_id_cut
    }

    /// Adds what the context has and the event has not.
    pub(crate) fn apply(&mut self, context: &RequestContext) {
        let mut defaults = Event::new("", "");
        context.apply_to_event(&mut defaults);
        for (name, value) in defaults.properties() {
            if !self.has(name) {
                let out = if lifted(name).is_some() { &mut self.lifted } else { &mut self.json };
                let written = json::member(out, name, value, Budget::new(DEEPEST, usize::MAX));
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
        let all = [&self.json[..], &self.lifted].concat();
        let whole = [b"{", without_comma(&all), b"}}"].concat();
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

    /// Takes note of its own enrichment, and moves what is lifted.
    #[cold]
    fn look_into(&mut self) {
        let whole = [b"{", without_comma(self.members()), b"}"].concat();
        let Ok(Members::<String, &RawValue>(members)) = serde_json::from_slice(&whole) else { return };
        members.iter().for_each(|(name, _)| self.own.add(name));
        if !members.iter().any(|(name, _)| lifted(name).is_some()) {
            return;
        }
        self.json.truncate(self.members);
        let mut last = [None; LIFTED.len()];
        for (name, value) in members {
            match lifted(&name) {
                // The last one of a name counts.
                Some(at) => last[at] = Some(value),
                None => event_json::write_member(&mut self.json, &name, value),
            }
        }
        for (lifted, value) in LIFTED.iter().zip(last) {
            if let Some(value) = value {
                event_json::write_member(&mut self.lifted, lifted.property, value);
            }
        }
    }

    /// Whether there is a member of this name. Parses only where the name is found in the text, or may be in disguise.
    fn has(&self, name: &str) -> bool {
        let text = Value::from(name).to_string();
        let is_found = |members: &[u8]| {
            (memmem::find(members, text.as_bytes()).is_some() || has_disguise(members)) && {
                let whole = [b"{", without_comma(members), b"}"].concat();
                serde_json::from_slice::<Members<String, &RawValue>>(&whole)
                    .is_ok_and(|Members(all)| all.iter().any(|(own, _)| own == name))
            }
        };
        is_found(self.members()) || is_found(&self.lifted)
    }
}

/// Shows no property.
impl fmt::Debug for TypedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedEvent").field("bytes", &self.json.len()).finish_non_exhaustive()
    }
}

/// Whether a member may be one that is not written where it stands, or instead of one that is added.
fn is_special_mentioned(members: &[u8]) -> bool {
    let is_special = |at| Own::begins(&members[at..]) || event_json::begins_with_lifted(&members[at..]);
    memchr_iter(b'$', members).any(is_special) || has_disguise(members)
}

/// Whether a letter may be written as its number, as in raw values.
fn has_disguise(json: &[u8]) -> bool {
    memchr_iter(b'\\', json).any(|at| json.get(at + 1) == Some(&b'u'))
}

fn without_comma(json: &[u8]) -> &[u8] {
    json.strip_suffix(b",").unwrap_or(json)
}
