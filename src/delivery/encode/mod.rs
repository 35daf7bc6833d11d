mod enrichment;
pub(super) mod json;
mod parts;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use bytes::Bytes;
use posthog_rs::Event;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::DropReason;
use super::admit::{DEEPEST, admit_names};
use super::event::{AnyEvent, Kind};
use super::typed_event::TypedEvent;
use crate::rt::Timestamps;
use enrichment::Enrichment;
pub(in crate::delivery) use enrichment::Own;
pub(crate) use enrichment::os;
use json::NotWritten;
use parts::Parts;

/// Changes or drops an event before it is encoded.
pub(crate) type Hook = Box<dyn FnMut(Event) -> Option<Event> + Send>;

/// Makes the wire JSON of events: `{uuid, event, distinct_id, properties, timestamp}` with the constant
/// enrichment, in one pass.
pub(crate) struct Encoder {
    hooks: Vec<Hook>,
    enrichment: Enrichment,
    timestamps: Timestamps,
    buffer: Vec<u8>,
    parts: Parts,
}

impl Encoder {
    pub(crate) fn new(hooks: Vec<Hook>, is_server: bool, geoip: bool) -> Self {
        let enrichment = Enrichment::new(is_server, geoip);
        let (timestamps, buffer, parts) = Default::default();
        Self { hooks, enrichment, timestamps, buffer, parts }
    }

    /// The event's bytes, or why there are none. `captured_at` is its time unless it has its own.
    pub(super) fn encode(&mut self, event: AnyEvent, captured_at: SystemTime) -> Result<Bytes, DropReason> {
        match event.0 {
            Kind::Typed(event) if self.hooks.is_empty() => self.write_typed(&event, captured_at),
            Kind::Typed(event) => {
                let at = event.timestamp().unwrap_or(captured_at);
                let event = event.into_event().ok_or(DropReason::NotEncodable)?;
                self.encode_sdk(event, at)?;
            }
            Kind::Sdk(event) => self.encode_sdk(event, captured_at)?,
        }
        Ok(Bytes::copy_from_slice(&self.buffer))
    }

    fn encode_sdk(&mut self, event: Event, captured_at: SystemTime) -> Result<(), DropReason> {
        let event = self.run_hooks(event)?;
        Ok(self.write_sdk(&event, captured_at)?)
    }

    /// What comes out of the hooks is admitted anew.
    fn run_hooks(&mut self, mut event: Event) -> Result<Event, DropReason> {
        if self.hooks.is_empty() {
            return Ok(event);
        }
        for hook in &mut self.hooks {
            match catch_unwind(AssertUnwindSafe(|| hook(event))) {
                Ok(Some(changed)) => event = changed,
                Ok(None) => return Err(DropReason::BeforeSend),
                Err(_) => return Err(DropReason::HookPanicked),
            }
        }
        admit_names(event.event_name(), event.distinct_id()).map(|()| event)
    }

    fn write_typed(&mut self, event: &TypedEvent, captured_at: SystemTime) {
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(b"{\"uuid\":\"");
        out.extend_from_slice(event.uuid().hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(event.json());
        self.enrichment.write(out, event.own());
        json::end(out, "}");
        out.extend_from_slice(b",\"timestamp\":\"");
        self.timestamps.write(out, event.timestamp().unwrap_or(captured_at));
        out.extend_from_slice(b"\"}");
    }

    fn write_sdk(&mut self, event: &Event, captured_at: SystemTime) -> Result<(), NotWritten> {
        self.parts.clear();
        event.serialize(&mut self.parts)?;
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(b"{\"uuid\":");
        out.extend_from_slice(&self.parts.uuid);
        out.extend_from_slice(b",\"event\":");
        json::text(out, event.event_name())?;
        out.extend_from_slice(b",\"distinct_id\":");
        json::text(out, event.distinct_id())?;
        out.extend_from_slice(b",\"properties\":{");
        let has_groups = self.parts.groups != b"{}";
        let mut own = Own::default();
        for (name, value) in in_order(event.properties()) {
            if !(has_groups && name == "$groups") {
                json::member(out, name, value, DEEPEST)?;
                own.add(name);
            }
        }
        self.enrichment.write(out, own);
        if has_groups {
            out.extend_from_slice(b"\"$groups\":");
            out.extend_from_slice(&self.parts.groups);
        }
        json::end(out, "}");
        out.extend_from_slice(b",\"timestamp\":");
        match self.parts.timestamp.as_slice() {
            // The event's own, which the SDK keeps in UTC without a zone.
            [own @ .., b'"'] => {
                out.extend_from_slice(own);
                out.extend_from_slice(b"Z\"}");
            }
            _ => {
                out.push(b'"');
                self.timestamps.write(out, captured_at);
                out.extend_from_slice(b"\"}");
            }
        }
        Ok(())
    }
}

/// In the same order for all events: what repeats is what gzip finds.
fn in_order(properties: &HashMap<String, Value>) -> Vec<(&String, &Value)> {
    let mut all: Vec<_> = properties.iter().collect();
    all.sort_unstable_by_key(|(name, _)| (name.len(), name.as_str()));
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn encode_with(hooks: Vec<Hook>, event: impl Into<AnyEvent>) -> Result<Value, DropReason> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let bytes = Encoder::new(hooks, true, false).encode(event.into(), at)?;
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    fn encode(event: impl Into<AnyEvent>) -> Value {
        encode_with(Vec::new(), event).unwrap()
    }

    #[test]
    fn an_event_on_the_wire_is_what_v0_wants() {
        let mut event = Event::new("order \"placed\"", "user-\u{1F994}");
        event.insert_prop("amount", 9.5).unwrap();
        event.insert_prop("items", ["a", "b"]).unwrap();
        event.insert_prop("not a number", f64::NAN).unwrap();
        event.add_group("company", "acme");
        let uuid = serde_json::to_value(&event).unwrap()["uuid"].clone();
        let (os, os_version) = os();
        assert_eq!(
            encode(event),
            json!({
                "uuid": uuid,
                "event": "order \"placed\"",
                "distinct_id": "user-\u{1F994}",
                "properties": {
                    "amount": 9.5,
                    "items": ["a", "b"],
                    "not a number": null,
                    "$process_person_profile": true,
                    "$groups": {"company": "acme"},
                    "$lib": "posthog-health",
                    "$lib_version": env!("CARGO_PKG_VERSION"),
                    "$os": os,
                    "$os_version": os_version,
                    "$is_server": true,
                    "$geoip_disable": true,
                },
                "timestamp": "2023-11-14T22:13:20.123456Z",
            })
        );
    }

    #[test]
    fn the_callers_values_win() {
        let mut event = Event::new("e", "u");
        for (name, value) in [("$lib", json!("mine")), ("$os", json!(null)), ("$is_server", json!(false))] {
            event.insert_prop(name, value).unwrap();
        }
        event.insert_prop("$groups", json!({"team": "t"})).unwrap();
        let properties = encode(event)["properties"].clone();
        assert_eq!(properties["$lib"], "mine");
        assert_eq!(properties["$os"], Value::Null);
        assert_eq!(properties["$is_server"], false);
        assert_eq!(properties["$groups"], json!({"team": "t"}));
    }

    #[test]
    fn groups_of_the_event_replace_a_groups_property() {
        let mut event = Event::new("e", "u");
        event.insert_prop("$groups", json!({"team": "t"})).unwrap();
        event.add_group("company", "acme");
        let bytes = Encoder::new(Vec::new(), true, true).encode(event.into(), SystemTime::now()).unwrap();
        assert_eq!(String::from_utf8(bytes.to_vec()).unwrap().matches("$groups").count(), 1);
    }

    #[test]
    fn an_events_own_time_is_kept_in_utc() {
        use std::str::FromStr;
        let mut event = Event::new("e", "u");
        let at = chrono::DateTime::<chrono::FixedOffset>::from_str("2024-02-29T23:59:59.5+01:00").unwrap();
        event.set_timestamp(at).unwrap();
        assert_eq!(encode(event)["timestamp"], "2024-02-29T22:59:59.500Z");
    }

    #[test]
    fn hooks_change_drop_or_panic_and_cost_one_event_at_most() {
        let hooks = || -> Vec<Hook> {
            vec![
                Box::new(|mut event: Event| {
                    event.insert_prop("seen", true).unwrap();
                    Some(event)
                }),
                Box::new(|event: Event| match event.event_name() {
                    "drop" => None,
                    "panic" => panic!("a hook's bug"),
                    "rename to nothing" => Some(Event::new("", "u")),
                    _ => Some(event),
                }),
            ]
        };
        let result = |name: &str| encode_with(hooks(), Event::new(name, "u"));
        assert_eq!(result("keep").unwrap()["properties"]["seen"], true);
        assert_eq!(result("drop"), Err(DropReason::BeforeSend));
        assert_eq!(result("panic"), Err(DropReason::HookPanicked));
        assert_eq!(result("rename to nothing"), Err(DropReason::NoName));
    }

    fn typed(properties: Value) -> TypedEvent {
        TypedEvent::new("order \"placed\"", "user-\u{1F994}", &properties).unwrap()
    }

    #[test]
    fn a_typed_event_is_on_the_wire_what_the_same_event_of_the_sdk_is() {
        let uuid = Uuid::from_u128(7);
        for properties in [
            json!({"amount": 9.5, "items": ["a", "b"], "$groups": {"company": "acme"}, "text": "\"$lib\": \n"}),
            json!({"$lib": "mine", "$os": null, "$is_server": false, "nested": {"$lib_version": 1}}),
            json!({"$lib": 1, "$lib_version": 2, "$os": 3, "$os_version": 4, "$is_server": 5, "$geoip_disable": 6}),
            json!({}),
        ] {
            let mut sdk = Event::new("order \"placed\"", "user-\u{1F994}");
            sdk.set_uuid(uuid);
            for (name, value) in properties.as_object().unwrap() {
                sdk.insert_prop(name, value).unwrap();
            }
            assert_eq!(encode(typed(properties.clone()).with_uuid(uuid)), encode(sdk), "{properties}");
        }
    }

    #[test]
    fn either_kind_of_event_may_be_nested_as_deep_as_posthog_reads_and_no_deeper() {
        for (levels, taken) in [(DEEPEST, true), (DEEPEST + 1, false)] {
            let value = (0..levels).fold(json!(1), |inner, _| json!([inner]));
            let mut sdk = Event::new("e", "u");
            sdk.insert_prop("deep", &value).unwrap();
            let encoded = encode_with(Vec::new(), sdk);
            assert_eq!(encoded.is_ok(), taken, "{levels}");
            assert!(taken || encoded == Err(DropReason::TooDeep));
            let typed = TypedEvent::new("e", "u", &json!({ "deep": value })).unwrap();
            assert_eq!(typed.admitted().is_ok(), taken, "{levels}");
        }
    }

    #[test]
    fn a_typed_event_has_a_uuid_and_a_time_or_its_own() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_600_000_000_000_007);
        let event = typed(json!({})).with_timestamp(at);
        let (first, again) = (encode(event.clone()), encode(event));
        assert_eq!(first["timestamp"], "2020-09-13T12:26:40.000007Z");
        assert_eq!(first["uuid"], again["uuid"]);
        let uuid: Uuid = serde_json::from_value(first["uuid"].clone()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_ne!(encode(typed(json!({})))["uuid"], first["uuid"]);
    }

    #[test]
    fn the_context_fills_in_what_a_typed_event_has_not() {
        let event = typed(json!({"mine": 1, "$os": "mine", "text": "\"plan\":"}));
        let context = posthog_rs::RequestContext::new().property("mine", 2).unwrap();
        let context = context.property("plan", "pro").unwrap().property("$lib", "theirs").unwrap();
        let within = |event| encode(AnyEvent::from(event).within(&context))["properties"].clone();
        let properties = within(event);
        assert_eq!(properties["mine"], 1);
        assert_eq!(properties["$os"], "mine");
        assert_eq!(properties["plan"], "pro");
        assert_eq!(properties["$lib"], "theirs");
        assert_eq!(within(typed(json!({})))["plan"], "pro");
    }

    #[test]
    fn hooks_see_a_typed_event_as_one_of_the_sdks() {
        let hook = |mut event: Event| {
            assert_eq!((event.event_name(), event.distinct_id()), ("order \"placed\"", "user-\u{1F994}"));
            let amount = event.remove_prop("amount").unwrap();
            event.insert_prop("was", amount).unwrap();
            Some(event)
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        let event = typed(json!({"amount": 9.5})).with_uuid(Uuid::from_u128(7)).with_timestamp(at);
        let encoded = encode_with(vec![Box::new(hook)], event).unwrap();
        assert_eq!(
            (&encoded["properties"]["was"], &encoded["properties"]["amount"]),
            (&json!(9.5), &Value::Null)
        );
        assert_eq!(encoded["uuid"], json!(Uuid::from_u128(7)));
        assert_eq!(encoded["timestamp"], "2020-09-13T12:26:40.000000Z");
    }
}
