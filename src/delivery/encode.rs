use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use posthog_rs::Event;
use serde::Serialize;
use serde_json::{Error, Value};

use super::DropReason;
use super::admit::admit;
use super::parts::Parts;
use crate::transport::timestamp;

/// Changes or drops an event before it is encoded.
pub(crate) type Hook = Box<dyn FnMut(Event) -> Option<Event> + Send>;

/// Makes the wire JSON of events: `{uuid, event, distinct_id, properties, timestamp}` with the constant
/// enrichment, in one pass.
pub(crate) struct Encoder {
    hooks: Vec<Hook>,
    enrichment: Vec<Constant>,
    buffer: Vec<u8>,
    parts: Parts,
}

/// A property that every event gets unless it has its own.
struct Constant {
    name: &'static str,
    member: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(hooks: Vec<Hook>, is_server: bool, geoip: bool) -> Self {
        let (os, os_version) = os();
        let mut enrichment = vec![
            Constant::new("$lib", "posthog-health"),
            Constant::new("$lib_version", env!("CARGO_PKG_VERSION")),
            Constant::new("$os", os.as_str()),
            Constant::new("$os_version", os_version.as_str()),
        ];
        enrichment.extend(is_server.then(|| Constant::new("$is_server", true)));
        enrichment.extend((!geoip).then(|| Constant::new("$geoip_disable", true)));
        Self { hooks, enrichment, buffer: Vec::new(), parts: Parts::default() }
    }

    /// The event's bytes, or why there are none. `captured_at` is its time unless it has its own.
    pub(super) fn encode(&mut self, event: Event, captured_at: SystemTime) -> Result<Bytes, DropReason> {
        let event = self.run_hooks(event)?;
        self.write(&event, captured_at).map_err(|_| DropReason::NotEncodable)?;
        Ok(Bytes::copy_from_slice(&self.buffer))
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
        admit(&event).map(|_| event)
    }

    fn write(&mut self, event: &Event, captured_at: SystemTime) -> Result<(), Error> {
        self.parts.clear();
        event.serialize(&mut self.parts)?;
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(b"{\"uuid\":");
        out.extend_from_slice(&self.parts.uuid);
        out.extend_from_slice(b",\"event\":");
        serde_json::to_writer(&mut *out, event.event_name())?;
        out.extend_from_slice(b",\"distinct_id\":");
        serde_json::to_writer(&mut *out, event.distinct_id())?;
        out.extend_from_slice(b",\"properties\":{");
        let first = out.len();
        let has_groups = self.parts.groups != b"{}";
        for (name, value) in event.properties() {
            if has_groups && name == "$groups" {
                continue;
            }
            member(out, first, name, value)?;
        }
        for constant in &self.enrichment {
            if !event.properties().contains_key(constant.name) {
                separate(out, first);
                out.extend_from_slice(&constant.member);
            }
        }
        if has_groups {
            separate(out, first);
            out.extend_from_slice(b"\"$groups\":");
            out.extend_from_slice(&self.parts.groups);
        }
        out.extend_from_slice(b"},\"timestamp\":");
        match self.parts.timestamp.as_slice() {
            // The event's own, which the SDK keeps in UTC without a zone.
            [own @ .., b'"'] => {
                out.extend_from_slice(own);
                out.extend_from_slice(b"Z\"}");
            }
            _ => {
                out.push(b'"');
                out.extend_from_slice(timestamp(captured_at).as_bytes());
                out.extend_from_slice(b"\"}");
            }
        }
        Ok(())
    }
}

impl Constant {
    fn new(name: &'static str, value: impl Into<Value>) -> Self {
        Self { name, member: format!("\"{name}\":{}", value.into()).into_bytes() }
    }
}

fn member(out: &mut Vec<u8>, first: usize, name: &str, value: &Value) -> Result<(), Error> {
    separate(out, first);
    serde_json::to_writer(&mut *out, name)?;
    out.push(b':');
    serde_json::to_writer(out, value)
}

fn separate(out: &mut Vec<u8>, first: usize) {
    if out.len() > first {
        out.push(b',');
    }
}

/// The operating system as posthog-rs reports it. The first call may start a process (`lsb_release`), so it
/// is made where blocking is fine.
pub(crate) fn os() -> &'static (String, String) {
    static OS: OnceLock<(String, String)> = OnceLock::new();
    OS.get_or_init(|| {
        let info = os_info::get();
        (info.os_type().to_string(), info.version().to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn encode_with(hooks: Vec<Hook>, event: Event) -> Result<Value, DropReason> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let bytes = Encoder::new(hooks, true, false).encode(event, at)?;
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    fn encode(event: Event) -> Value {
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
        let bytes = Encoder::new(Vec::new(), true, true).encode(event, SystemTime::now()).unwrap();
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
}
