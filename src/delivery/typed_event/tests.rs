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
    assert_eq!(of(TypedEvent::new("e", "u", &Placed::Order { amount: 1 })), json!({"Order": {"amount": 1}}));
    assert_eq!(of(TypedEvent::new("e", "u", &Wrapped(&rest))), json!({"a": 1}));
    assert_eq!(of(TypedEvent::new("e", "u", &Some(Flat { name: "n", rest }))), json!({"name": "n", "a": 1}));
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
    let raw = serde_json::value::RawValue::from_string(json!({ "a": nested(DEEPEST) }).to_string()).unwrap();
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
