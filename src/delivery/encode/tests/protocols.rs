//! What V0 and V1 get of events whose texts look like the JSON around them.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, json};

use super::*;
use crate::api::event_json::{is_ai, write_v1};

const NASTY: &[&str] = &[
    "$session_id",
    "$window_id",
    "$process_person_profile",
    "$lib",
    "\"",
    "\\",
    "\\\"",
    "{",
    "}",
    ",",
    ":",
    "\"$session_id\":\"s\"",
    ",\"$session_id\":\"s",
    "},\"timestamp\":\"",
    "\"}",
    "\n",
    "\u{1F994}",
    "1",
    "true",
    "x",
];

fn text() -> impl Strategy<Value = String> {
    vec(prop::sample::select(NASTY), 0..4).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-2..2).prop_map(|number| json!(f64::from(number) / 2.0)),
        text().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((name(), inner), 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    const SPECIAL: &[&str] = &[
        "$session_id",
        "$window_id",
        "$cookieless_mode",
        "$ignore_sent_at",
        "$product_tour_id",
        "$process_person_profile",
        "$groups",
        "$set",
        "$lib",
        "$lib_version",
        "$is_server",
        "$geoip_disable",
        "properties",
        "timestamp",
    ];
    prop_oneof![prop::sample::select(SPECIAL).prop_map(str::to_owned), text()]
}

fn properties() -> impl Strategy<Value = Map<String, Value>> {
    vec((name(), value()), 0..8).prop_map(|members| members.into_iter().collect())
}

/// What V0 has always got.
fn v0_of(event: &str, distinct_id: &str, own: &Map<String, Value>) -> Value {
    wait_for_os();
    let mut all = encode(Event::new("e", "u"));
    for (name, value) in own {
        all["properties"][name] = value.clone();
    }
    let properties = all["properties"].as_object_mut().unwrap();
    if own.contains_key("$lib_version") {
        for part in ["$lib_version__major", "$lib_version__minor", "$lib_version__patch"] {
            properties.remove(part);
        }
    }
    (all["uuid"], all["event"], all["distinct_id"]) =
        (json!(Uuid::from_u128(7)), json!(event), json!(distinct_id));
    all
}

/// The rules of V1, on values, in the words of posthog-rs.
fn v1_of(mut event: Value) -> Value {
    let properties = event["properties"].as_object_mut().unwrap();
    let mut options = Map::new();
    for (name, option) in [
        ("$cookieless_mode", "cookieless_mode"),
        ("$ignore_sent_at", "disable_skew_correction"),
        ("$process_person_profile", "process_person_profile"),
    ] {
        let is = match properties.remove(name) {
            Some(Value::Bool(is)) => Some(is),
            Some(Value::Number(number)) => number.as_f64().map(|number| number != 0.0),
            Some(Value::String(text)) => match text.trim().to_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        options.extend(is.map(|is| (option.to_owned(), json!(is))));
    }
    let text = |value: Option<Value>| value.filter(Value::is_string);
    options.extend(text(properties.remove("$product_tour_id")).map(|id| ("product_tour_id".to_owned(), id)));
    let session_id = text(properties.remove("$session_id"));
    let window_id = text(properties.remove("$window_id"));
    for (name, value) in
        [("session_id", session_id), ("window_id", window_id), ("options", Some(Value::Object(options)))]
    {
        if let Some(value) = value {
            event[name] = value;
        }
    }
    event
}

fn in_v1(event: &[u8]) -> Value {
    let mut out = b"before".to_vec();
    write_v1(event, &mut out);
    serde_json::from_slice(out.strip_prefix(b"before").unwrap()).unwrap()
}

/// The properties as somebody else may write them, and as raw values hold them.
fn in_disguise(properties: &Map<String, Value>, order: &[usize], spaces: bool) -> Box<RawValue> {
    let mut members: Vec<_> = properties.iter().collect();
    for (at, other) in order.iter().enumerate() {
        if at < members.len() {
            let other = other % members.len();
            members.swap(at, other);
        }
    }
    let (space, dollar) = if spaces { (" ", r"\u0024") } else { ("", "$") };
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| {
            let name = Value::from(name.as_str()).to_string().replacen('$', dollar, 1);
            format!("{space}{name}{space}:{space}{value}{space}")
        })
        .collect();
    RawValue::from_string(format!("{{{}}}", members.join(","))).unwrap()
}

fn bytes(event: impl Into<AnyEvent>) -> Vec<u8> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    encoder(Vec::new(), usize::MAX).encode(event.into(), at).unwrap().json.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1_000 }))]

    #[test]
    fn each_protocol_gets_its_form(
        event in text().prop_map(|text| format!("e{text}")),
        distinct_id in text().prop_map(|text| format!("u{text}")),
        properties in properties(),
        order in vec(any::<usize>(), 8),
        spaces: bool,
    ) {
        let mut sdk = Event::new(&event, &distinct_id);
        sdk.set_uuid(Uuid::from_u128(7));
        for (name, value) in &properties {
            sdk.insert_prop(name, value).unwrap();
        }
        let raw = in_disguise(&properties, &order, spaces);
        let (v0, uuid) = (v0_of(&event, &distinct_id, &properties), Uuid::from_u128(7));
        let plain = TypedEvent::new(&event, &distinct_id, &properties).unwrap().with_uuid(uuid);
        let disguised = TypedEvent::new(&event, &distinct_id, &raw).unwrap().with_uuid(uuid);
        for encoded in [bytes(sdk), bytes(plain), bytes(disguised)] {
            prop_assert_eq!(serde_json::from_slice::<Value>(&encoded).unwrap(), v0.clone());
            prop_assert_eq!(in_v1(&encoded), v1_of(v0.clone()));
        }
        // What an earlier version spooled has them in any place.
        let whole = v0["properties"].as_object().unwrap();
        let earlier = [
            v0.to_string(),
            format!(
                r#"{{"uuid":{},"event":{},"distinct_id":{},"properties":{},"timestamp":{}}}"#,
                v0["uuid"], v0["event"], v0["distinct_id"], in_disguise(whole, &order, false), v0["timestamp"],
            ),
        ];
        for earlier in earlier {
            prop_assert_eq!(in_v1(earlier.as_bytes()), v1_of(v0.clone()));
        }
        prop_assert!(!is_ai(v0.to_string().as_bytes()));
    }
}

/// Where the context of a request adds what is lifted, too.
#[test]
fn what_the_context_adds_is_lifted() {
    let context = posthog_rs::RequestContext::new().session_id("session-1");
    let context = context.property("path", "/").unwrap().property("$window_id", "theirs").unwrap();
    for event in [
        AnyEvent::from(typed(json!({"$window_id": "mine", "a": 1}))),
        AnyEvent::from({
            let mut event = Event::new("e", "u");
            event.insert_prop("$window_id", "mine").unwrap();
            event
        }),
    ] {
        let encoded = bytes(event.within(&context));
        let v0: Value = serde_json::from_slice(&encoded).unwrap();
        assert_eq!(
            (&v0["properties"]["$session_id"], &v0["properties"]["$window_id"]),
            (&json!("session-1"), &json!("mine"))
        );
        let v1 = in_v1(&encoded);
        assert_eq!((&v1["session_id"], &v1["window_id"]), (&json!("session-1"), &json!("mine")));
        assert_eq!(v1["properties"]["path"], "/");
    }
}

/// V1's form is made without a parser, as long as the names stand nowhere else.
#[test]
fn what_is_lifted_comes_last() {
    let all = json!({
        "a": 1, "$session_id": "s", "$groups": {"company": "acme"}, "z": 2, "$process_person_profile": false,
    });
    let mut sdk = Event::new("e", "u");
    sdk.add_group("company", "acme");
    for (name, value) in all.as_object().unwrap() {
        if name != "$groups" {
            sdk.insert_prop(name, value).unwrap();
        }
    }
    let last =
        r#","$session_id":"s","$process_person_profile":false},"timestamp":"2023-11-14T22:13:20.123456Z"}"#;
    for encoded in [bytes(sdk), bytes(typed(all))] {
        assert!(encoded.ends_with(last.as_bytes()), "{}", String::from_utf8_lossy(&encoded));
    }
}
