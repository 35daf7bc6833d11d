use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::super::enrichment::wait_for_os;
use super::super::hooks::Hook;
use super::*;

fn encoder(hooks: Vec<Hook>, most_bytes: usize) -> Encoder {
    let mut all = Hooks::default();
    hooks.into_iter().for_each(|hook| all.push(hook));
    Encoder::new(all, true, false, most_bytes)
}

fn encode_with(hooks: Vec<Hook>, event: impl Into<AnyEvent>) -> Result<Value, DropReason> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let encoded = encoder(hooks, usize::MAX).encode(event.into(), at)?;
    Ok(serde_json::from_slice(&encoded.json).unwrap())
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
    let (os, os_version) = wait_for_os();
    let part = |part: &str| part.parse::<u64>().unwrap();
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
                "$lib_version__major": part(env!("CARGO_PKG_VERSION_MAJOR")),
                "$lib_version__minor": part(env!("CARGO_PKG_VERSION_MINOR")),
                "$lib_version__patch": part(env!("CARGO_PKG_VERSION_PATCH")),
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

/// The parts of our version do not fit theirs.
#[test]
fn an_event_with_a_version_of_its_own_has_the_parts_that_it_has() {
    let mut event = Event::new("e", "u");
    event.insert_prop("$lib_version", "7.0.1").unwrap();
    event.insert_prop("$lib_version__major", 7).unwrap();
    let properties = encode(event)["properties"].clone();
    assert_eq!(
        (&properties["$lib_version"], &properties["$lib_version__major"]),
        (&json!("7.0.1"), &json!(7))
    );
    assert_eq!(properties.get("$lib_version__minor"), None);
    let properties = encode(typed(json!({"$lib_version": "7.0.1"})))["properties"].clone();
    assert_eq!(properties.get("$lib_version__major"), None);
    let properties = encode(typed(json!({"$lib_version__major": 7})))["properties"].clone();
    assert_eq!(properties["$lib_version__major"], 7);
    assert!(properties["$lib_version__minor"].is_u64());
}

#[test]
fn an_id_that_is_too_long_is_cut_and_tells() {
    let long = format!("{}\u{1F994}", "\"".repeat(199));
    let at = SystemTime::UNIX_EPOCH;
    let typed = || TypedEvent::new("e", &long, &json!({})).unwrap();
    let renames = || -> Vec<Hook> {
        let long = long.clone();
        vec![Box::new(move |_| Some(Event::new("e", &long)))]
    };
    for (hooks, event) in [
        (Vec::new(), AnyEvent::from(Event::new("e", &long))),
        (Vec::new(), typed().into()),
        (vec![Box::new(Some) as Hook], typed().into()),
        (renames(), Event::new("e", "short").into()),
    ] {
        let encoded = encoder(hooks, usize::MAX).encode(event, at).unwrap();
        assert!(encoded.is_id_cut);
        let event: Value = serde_json::from_slice(&encoded.json).unwrap();
        assert_eq!(event["distinct_id"], "\"".repeat(199));
    }
    for event in [AnyEvent::from(Event::new("e", &long[..199])), typed_for(&long[..199]).into()] {
        assert!(!encoder(Vec::new(), usize::MAX).encode(event, at).unwrap().is_id_cut);
    }
}

fn typed_for(distinct_id: &str) -> TypedEvent {
    TypedEvent::new("e", distinct_id, &json!({})).unwrap()
}

#[test]
fn groups_of_the_event_replace_a_groups_property() {
    let mut event = Event::new("e", "u");
    event.insert_prop("$groups", json!({"team": "t"})).unwrap();
    event.add_group("company", "acme");
    let encoded = encoder(Vec::new(), usize::MAX).encode(event.into(), SystemTime::now()).unwrap();
    assert_eq!(String::from_utf8(encoded.json.to_vec()).unwrap().matches("$groups").count(), 1);
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

#[test]
fn an_event_captured_before_the_operating_system_is_known_has_its_general_name() {
    let members = super::super::enrichment::at_first();
    assert!(members.contains(&format!("\"$os\":\"{}\"", std::env::consts::OS)), "{members}");
    assert!(!members.contains("$os_version"), "{members}");
}

/// serde's traits take several frames a level, and a debug build makes each large.
#[test]
fn the_deepest_typed_event_is_written_on_a_stack_of_512_kib() {
    let properties = json!({ "deep": (1..DEEPEST).fold(json!(1), |inner, _| json!([inner])) });
    let encode = move || {
        let event = TypedEvent::new("e", "u", &properties).unwrap();
        encoder(Vec::new(), usize::MAX).encode(event.into(), SystemTime::UNIX_EPOCH).map(|_| ())
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(encode).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(()));
}

fn deep(levels: usize) -> Event {
    let value = (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let mut event = Event::new("e", "u");
    event.insert_prop("deep", value).unwrap();
    event
}

/// Threads of runtimes and of C libraries may have no more.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(128 << 10).spawn(work).unwrap().join().unwrap()
}

#[test]
fn the_deepest_event_is_encoded_and_a_deeper_one_refused_on_a_small_stack() {
    for (levels, expected) in [(DEEPEST, Ok(())), (DEEPEST + 1, Err(DropReason::TooDeep))] {
        let event = deep(levels).into();
        let encode =
            move || encoder(Vec::new(), usize::MAX).encode(event, SystemTime::UNIX_EPOCH).map(|_| ());
        assert_eq!(on_a_small_stack(encode), expected, "{levels}");
    }
}

#[test]
fn an_event_of_any_depth_is_refused_and_dropped_on_a_small_stack() {
    let deeper = || {
        let mut event = deep(1);
        // By hand, since `insert_prop` goes through it level by level.
        let value = (0..3_000).fold(json!(1), |inner, _| Value::Array(vec![inner]));
        event.insert_prop("deeper", value).unwrap();
        AnyEvent::from(event)
    };
    let build = std::thread::Builder::new().stack_size(64 << 20);
    let events = build.spawn(move || [deeper(), deeper()]).unwrap().join().unwrap();
    let [refused, discarded] = events;
    let encode = move || encoder(Vec::new(), usize::MAX).encode(refused, SystemTime::UNIX_EPOCH);
    assert_eq!(on_a_small_stack(encode), Err(DropReason::TooDeep));
    on_a_small_stack(move || discarded.discard());
}

#[test]
fn what_is_left_out_and_what_a_hook_renames_to_nothing_may_be_deep_too() {
    let too_deep = || (0..3_000).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    let build = move || {
        let mut groups = Event::new("e", "u");
        groups.insert_prop("$groups", too_deep()).unwrap();
        groups.add_group("company", "acme");
        let mut renamed = Event::new("", "u");
        renamed.insert_prop("deep", too_deep()).unwrap();
        (groups, renamed)
    };
    let build = std::thread::Builder::new().stack_size(64 << 20).spawn(build);
    let (groups, renamed) = build.unwrap().join().unwrap();
    let encode = move || encoder(Vec::new(), usize::MAX).encode(groups.into(), SystemTime::UNIX_EPOCH);
    assert_eq!(on_a_small_stack(encode), Err(DropReason::TooDeep));
    let encode = move || {
        let renamed = Mutex::new(Some(renamed));
        let hook: Hook = Box::new(move |_| renamed.lock().unwrap().take());
        encoder(vec![hook], usize::MAX).encode(Event::new("e", "u").into(), SystemTime::UNIX_EPOCH)
    };
    assert_eq!(on_a_small_stack(encode), Err(DropReason::NoName));
}

#[test]
fn encoding_stops_at_the_bound() {
    wait_for_os();
    let at = SystemTime::UNIX_EPOCH;
    let mut event = Event::new("e", "u");
    event.insert_prop("long", vec!["x".repeat(1_000); 1_000]).unwrap();
    let event = || event.clone().into();
    assert_eq!(encoder(Vec::new(), 10_000).encode(event(), at), Err(DropReason::TooLarge));
    let whole = encoder(Vec::new(), usize::MAX).encode(event(), at).unwrap();
    let length = whole.json.len();
    assert_eq!(encoder(Vec::new(), length).encode(event(), at).as_ref(), Ok(&whole));
    assert_eq!(encoder(Vec::new(), length - 1).encode(event(), at), Err(DropReason::TooLarge));
    let typed = TypedEvent::new("e", "u", &json!({"long": "x".repeat(10_000)})).unwrap();
    assert_eq!(encoder(Vec::new(), 10_000).encode(typed.into(), at), Err(DropReason::TooLarge));
}

mod protocols;
