use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use memchr::{memchr_iter, memmem};
use posthog_rs::{Event, RequestContext};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

use super::admit::{DEEPEST, admit_names};
use super::encode::Own;
use super::encode::json::{self, NotWritten};
use super::ledger::DropReason;

/// An event whose properties are a type of yours, written straight to JSON: the fast way in, with no map of values on
/// the way, as a [`posthog_rs::Event`] is.
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
/// [`before_send`](crate::PostHogBuilder::before_send) hooks see it as an [`Event`], its numbers as `serde_json::Value`
/// keeps them: with a hook it costs as much as one, in the background.
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
            if Own::is_mentioned(event.members()) || has_disguise(event.members()) {
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

    /// As of this time, to the microsecond, and not of its capture. A time before 1970 reads as 1970, one after 9999 as
    /// the end of 9999.
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
                let written = json::member(&mut self.json, name, value, DEEPEST);
                self.refused = self.refused.or(written.err().map(DropReason::from));
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

/// Version 7, as the SDK's events have: the time, and 74 random bits.
fn new_uuid() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let random = RANDOM.try_with(|random| random.borrow_mut().u128(..));
    let random = random.unwrap_or_else(|_| seeded().u128(..));
    let [bits @ .., _, _, _, _, _, _] = random.to_ne_bytes();
    Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
}

/// By what the operating system gave the standard library's maps: no other has its numbers.
fn seeded() -> Rng {
    Rng::with_seed(RandomState::new().build_hasher().finish())
}

thread_local! {
    /// Of our own: whoever seeds fastrand's would get the same uuids again.
    static RANDOM: RefCell<Rng> = RefCell::new(seeded());

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
    match json::write(out, properties, DEEPEST + 1) {
        Ok(()) => {}
        Err(NotWritten::TooDeep) => return Ok((out.len(), Err(DropReason::TooDeep))),
        Err(NotWritten::Failed(error)) => return Err(error.into()),
    }
    open_again(out, start)?;
    Ok((start + 1, Ok(())))
}

/// Takes the bracket off the end of an object, for more members to come.
fn open_again(out: &mut Vec<u8>, start: usize) -> Result<(), PropertiesError> {
    if out.get(start) != Some(&b'{') {
        return Err(PropertiesError::NotAnObject { found: kind(&out[start..]) });
    }
    out.pop();
    // A raw value has its spaces still.
    while out.pop_if(|last| last.is_ascii_whitespace()).is_some() {}
    if out.len() > start + 1 {
        out.push(b',');
    }
    Ok(())
}

/// Whether a letter may be written as its number, as in raw values.
fn has_disguise(json: &[u8]) -> bool {
    memchr_iter(b'\\', json).any(|at| json.get(at + 1) == Some(&b'u'))
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
        for empty in ["{}", "{ }", "{\n}"] {
            let raw = serde_json::value::RawValue::from_string(empty.to_owned()).unwrap();
            let event = TypedEvent::new("e", "u", &raw).unwrap();
            assert!(event.json().ends_with(b"\"properties\":{"), "{event:?}");
        }
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
        let raw =
            serde_json::value::RawValue::from_string(json!({ "a": nested(DEEPEST) }).to_string()).unwrap();
        assert_eq!(refused(&raw), Some(DropReason::TooDeep));
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
        let raw = serde_json::value::RawValue::from_string(r#"{"\u0024lib": 1}"#.into()).unwrap();
        assert!(TypedEvent::new("e", "u", &raw).unwrap().has("$lib"));
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
    fn uuids_are_new_whatever_a_service_does_to_the_random_numbers_that_it_shares() {
        let uuids = || {
            fastrand::seed(7);
            (0..1_000).map(|_| TypedEvent::new("e", "u", &json!({})).unwrap().uuid())
        };
        let here: Vec<_> = uuids().chain(uuids()).collect();
        let there = std::thread::spawn(move || uuids().collect::<Vec<_>>()).join().unwrap();
        let all: std::collections::HashSet<_> = here.into_iter().chain(there).collect();
        assert_eq!(all.len(), 3_000);
    }

    #[test]
    fn debug_shows_no_property() {
        let event = TypedEvent::new("secret name", "secret id", &json!({"secret": "value"})).unwrap();
        assert!(!format!("{event:?} {:?}", super::super::AnyEvent::from(event.clone())).contains("secret"));
    }
}
