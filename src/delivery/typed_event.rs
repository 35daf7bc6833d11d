use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;
use posthog_rs::{Event, RequestContext};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

use super::admit::{DEEPEST, admit_names};
use super::encode::Own;
use super::encode::json::{self, NotWritten};
use super::ledger::DropReason;

/// An event whose properties are a type of yours, written straight to JSON: the fast way in, at about a tenth of
/// what building a [`posthog_rs::Event`] costs.
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
/// It goes the way of every other event and has the same guarantees: [`capture`](crate::PostHog::capture) applies the
/// [`RequestContext`] and takes the time, properties of the event's own win over what is added to it, and what PostHog
/// would reject is refused and counted. PostHog's own properties (`$groups`, `$set`, `$process_person_profile`) are
/// members of your type with that name.
///
/// [`before_send`](crate::PostHogBuilder::before_send) hooks see it as an [`Event`]: with a hook it costs as much as
/// one, in the background.
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

/// There is no event, since what should be its properties is no JSON object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropertiesError {
    /// They are some other JSON.
    #[error("properties are {found}, not a JSON object: use a struct with named fields, or a map")]
    NotAnObject {
        /// What they are, as "an array".
        found: &'static str,
    },
    /// Their `Serialize` failed: a map whose keys are no strings, or an error of its own.
    #[error("properties cannot be written as JSON: {0}")]
    NotSerializable(#[from] serde_json::Error),
}

impl TypedEvent {
    /// Writes the event with these properties, and gives it a uuid.
    ///
    /// # Errors
    ///
    /// [`PropertiesError`] when `properties` are no JSON object, or cannot be serialized. Nothing was captured then,
    /// and nothing is counted.
    ///
    /// # Panics
    ///
    /// When the `Serialize` of `properties` does.
    pub fn new<P: Serialize + ?Sized>(
        event: &str,
        distinct_id: &str,
        properties: &P,
    ) -> Result<Self, PropertiesError> {
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        let written = write(&mut scratch, event, distinct_id, properties).map(|(members, written)| {
            let json = scratch.as_slice().to_vec();
            let refused = admit_names(event, distinct_id).and(written).err();
            let mut event =
                Self { uuid: new_uuid(), timestamp: None, json, members, own: Own::default(), refused };
            if Own::is_mentioned(event.members()) {
                event.own = Own::of(|name| event.has(name));
            }
            event
        });
        if scratch.capacity() <= LARGEST_SCRATCH {
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        written
    }

    /// With this uuid: an import that is run again gives an event the same one, so that PostHog counts it once.
    #[must_use]
    pub fn with_uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = uuid;
        self
    }

    /// As of this time, to the microsecond, and not of its capture. A year after 9999 reads as the end of 9999.
    #[must_use]
    pub fn with_timestamp(mut self, at: SystemTime) -> Self {
        self.timestamp = Some(at);
        self
    }

    pub(super) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// `None`: that of its capture.
    pub(super) fn timestamp(&self) -> Option<SystemTime> {
        self.timestamp
    }

    /// About how many bytes it will have on the wire, or why it may not enter.
    pub(super) fn admitted(&self) -> Result<usize, DropReason> {
        self.refused.map_or(Ok(self.json.len()), Err)
    }

    /// What is written of it: ends in an object that is open, after the comma of its last member.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    pub(super) fn own(&self) -> Own {
        self.own
    }

    /// Adds what the context has and the event has not.
    pub(super) fn apply(&mut self, context: &RequestContext) {
        let mut defaults = Event::new("", "");
        context.apply_to_event(&mut defaults);
        for (name, value) in defaults.properties() {
            if !self.has(name) {
                let name_as_json = Value::from(name.as_str());
                self.json.extend_from_slice(format!("{name_as_json}:{value},").as_bytes());
                self.own.add(name);
            }
        }
    }

    /// The same as an event of the SDK's.
    pub(super) fn into_event(self) -> Option<Event> {
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

    /// Whether there is a member of this name. Parses only where the name is found in the text.
    fn has(&self, name: &str) -> bool {
        let text = Value::from(name).to_string();
        memmem::find(self.members(), text.as_bytes()).is_some() && {
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

/// Version 7, as the SDK's events have: the time, and 74 random bits.
fn new_uuid() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let [random @ .., _, _, _, _, _, _] = fastrand::u128(..).to_ne_bytes();
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

thread_local! {
    /// Where events are written, so that each is allocated once, and as large as it is. Taken out while in use:
    /// a `Serialize` that captures an event itself finds an empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Larger ones are not kept.
const LARGEST_SCRATCH: usize = 64 << 10;

/// Writes it, and tells where its properties begin, and whether they may enter.
fn write<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    event: &str,
    distinct_id: &str,
    properties: &P,
) -> Result<(usize, Result<(), DropReason>), PropertiesError> {
    out.extend_from_slice(b"\"event\":");
    json::text(out, event)?;
    out.extend_from_slice(b",\"distinct_id\":");
    json::text(out, distinct_id)?;
    out.extend_from_slice(b",\"properties\":");
    let start = out.len();
    let written = match json::write(out, properties, DEEPEST + 1) {
        Err(NotWritten::TooDeep) => Err(DropReason::TooDeep),
        written => Ok(written?),
    };
    match &mut out[start..] {
        [b'{', b'}'] => _ = out.pop(),
        [b'{', .., last @ b'}'] => *last = b',',
        [b'{', ..] if written.is_err() => out.truncate(start + 1),
        other => return Err(PropertiesError::NotAnObject { found: kind(other) }),
    }
    Ok((start + 1, written))
}

impl From<NotWritten> for PropertiesError {
    fn from(not_written: NotWritten) -> Self {
        match not_written {
            NotWritten::Failed(error) => Self::NotSerializable(error),
            NotWritten::TooDeep => Self::NotSerializable(serde::ser::Error::custom("nested too deep")),
        }
    }
}

fn without_comma(json: &[u8]) -> &[u8] {
    json.strip_suffix(b",").unwrap_or(json)
}

fn kind(json: &[u8]) -> &'static str {
    match json.first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "other JSON",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn refused(properties: &impl Serialize) -> Option<DropReason> {
        TypedEvent::new("e", "u", properties).unwrap().admitted().err()
    }

    fn error(properties: impl Serialize) -> String {
        TypedEvent::new("e", "u", &properties).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_object_is_an_error_that_names_it() {
        #[derive(Serialize)]
        struct Meters(f64);
        let of = |found| {
            format!("properties are {found}, not a JSON object: use a struct with named fields, or a map")
        };
        assert_eq!(error([1, 2]), of("an array"));
        assert_eq!(error("text"), of("a string"));
        assert_eq!(error(true), of("a boolean"));
        assert_eq!(error(()), of("null"));
        assert_eq!(error(None::<Meters>), of("null"));
        assert_eq!(error(-1), of("a number"));
        assert_eq!(error(Meters(2.0)), of("a number"));
        let keys_are_no_strings = BTreeMap::from([([1, 2], 3)]);
        assert!(error(keys_are_no_strings).starts_with("properties cannot be written as JSON: "));
    }

    #[test]
    fn every_type_that_is_an_object_will_do() {
        #[derive(Serialize)]
        enum Placed {
            Order { amount: u32 },
        }
        #[derive(Serialize)]
        struct Wrapped<T>(T);
        #[derive(Serialize)]
        struct Flat<T> {
            name: &'static str,
            #[serde(flatten)]
            rest: T,
        }
        #[derive(Serialize)]
        struct Empty {}
        let raw = serde_json::value::RawValue::from_string(" {\"a\" : 1 } ".into()).unwrap();
        let rest = BTreeMap::from([("a", 1)]);
        let properties = |event: TypedEvent| json!(event.into_event().unwrap().properties());
        let of = |event: Result<TypedEvent, _>| properties(event.unwrap());
        assert_eq!(
            of(TypedEvent::new("e", "u", &Placed::Order { amount: 1 })),
            json!({"Order": {"amount": 1}})
        );
        assert_eq!(of(TypedEvent::new("e", "u", &Wrapped(&rest))), json!({"a": 1}));
        assert_eq!(
            of(TypedEvent::new("e", "u", &Some(Flat { name: "n", rest }))),
            json!({"name": "n", "a": 1})
        );
        assert_eq!(of(TypedEvent::new("e", "u", &Empty {})), json!({}));
        assert_eq!(of(TypedEvent::new("e", "u", &raw)), json!({"a": 1}));
        assert_eq!(of(TypedEvent::new("e", "u", &json!({"b": [{"c": "d"}]}))), json!({"b": [{"c": "d"}]}));
    }

    #[test]
    fn blank_names_and_ids_and_deep_nesting_are_refused_as_for_the_sdks_events() {
        let event = |event, id| TypedEvent::new(event, id, &json!({})).unwrap().admitted();
        assert!(event("e", "u").is_ok());
        assert_eq!(event("\n", "u"), Err(DropReason::NoName));
        assert_eq!(event("e", " "), Err(DropReason::NoDistinctId));
        let nested = |levels: usize| (0..levels).fold(json!([1]), |inner, _| json!({ "a\"[\\": inner }));
        let wide = vec![json!({"a": "{[\\\"{[" }); 200];
        assert_eq!(refused(&json!({ "a": nested(DEEPEST - 1), "wide": wide })), None);
        assert_eq!(refused(&json!({ "wide": wide, "a": nested(DEEPEST) })), Some(DropReason::TooDeep));
    }

    #[test]
    fn a_name_is_found_only_where_it_is_a_member() {
        let event = |properties: Value| TypedEvent::new("e", "u", &properties).unwrap();
        assert!(event(json!({"a": 1, "$lib": 2})).has("$lib"));
        for other in [
            json!({"a": {"$lib": 2}}),
            json!({"a": "$lib"}),
            json!({"a": "\"$lib\":"}),
            json!({"a$lib": 1}),
            json!({}),
        ] {
            assert!(!event(other.clone()).has("$lib"), "{other}");
        }
        assert!(event(json!({"quoted \"name\"\n": 1})).has("quoted \"name\"\n"));
    }

    #[test]
    fn a_serialize_that_captures_by_itself_disturbs_nothing() {
        struct Nested;
        impl Serialize for Nested {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                TypedEvent::new("inner", "u", &json!({"b": 2})).unwrap();
                json!({"a": 1}).serialize(serializer)
            }
        }
        let event = TypedEvent::new("outer", "u", &Nested).unwrap().into_event().unwrap();
        assert_eq!((event.event_name(), json!(event.properties())), ("outer", json!({"a": 1})));
    }

    #[test]
    fn debug_shows_no_property() {
        let event = TypedEvent::new("secret name", "secret id", &json!({"secret": "value"})).unwrap();
        assert!(!format!("{event:?} {:?}", super::super::AnyEvent::from(event.clone())).contains("secret"));
    }
}
