use serde_json::{Value, json};

use super::*;

fn v1(event: &str) -> String {
    let mut out = Vec::new();
    write_v1(event.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

/// An event with these properties, and what V1 gets of it: what is behind the time, and the properties.
fn v1_of(properties: &str) -> (Value, Value) {
    let mut event: Value = serde_json::from_str(&v1(&event(properties))).unwrap();
    let properties = event["properties"].take();
    let all = event.as_object_mut().unwrap();
    for name in ["uuid", "event", "distinct_id", "timestamp", "properties"] {
        assert!(all.remove(name).is_some(), "{name}");
    }
    (event, properties)
}

fn event(properties: &str) -> String {
    format!(
        r#"{{"uuid":"{}","event":"e","distinct_id":"u","properties":{properties},"timestamp":"2026-11-30T00:00:00.000000Z"}}"#,
        "0".repeat(36)
    )
}

#[test]
fn what_is_lifted_is_moved_from_the_end() {
    let written = concat!(
        r#"{"mine":1,"$session_id":"s\"1","$window_id":"w","$cookieless_mode":true,"$ignore_sent_at":false,"#,
        r#""$product_tour_id":"t","$process_person_profile":"1"}"#
    );
    let moved = concat!(
        r#","session_id":"s\"1","window_id":"w","options":{"cookieless_mode":true,"disable_skew_correction":false,"#,
        r#""product_tour_id":"t","process_person_profile":true}}"#
    );
    let kept = event(r#"{"mine":1}"#);
    assert_eq!(v1(&event(written)), format!("{}{moved}", kept.strip_suffix('}').unwrap()));
    assert_eq!(v1(&kept), format!(r#"{},"options":{{}}}}"#, kept.strip_suffix('}').unwrap()));
    assert_eq!(
        v1_of(r#"{"$session_id":"s"}"#),
        (json!({"session_id": "s", "options": {}}), json!({})),
        "nothing else"
    );
    let twice = (json!({"session_id": "s", "options": {}}), json!({"a": 1}));
    assert_eq!(v1_of(r#"{"a":1,"$session_id":"first","$session_id":"s"}"#), twice, "as parsers have it");
}

#[test]
fn what_is_lifted_is_found_wherever_it_is() {
    for properties in [
        r#"{"$session_id":"s","mine":{"$session_id":"deeper"}}"#,
        r#"{ "mine" : {"$session_id":"deeper"} , "$session_id" : "s" }"#,
        r#"{"$session_id":"first","mine":{"$session_id":"deeper"},"$session_id":"s"}"#,
        r#"{"mine":{"$session_id":"deeper"},"$session_id":"first","$session_id":"s"}"#,
    ] {
        let lifted = json!({"session_id": "s", "options": {}});
        assert_eq!(v1_of(properties), (lifted, json!({"mine": {"$session_id": "deeper"}})), "{properties}");
    }
    let none = (json!({"options": {}}), json!({"x\"$session_id": "s", "$session_id_of": "\",\"$session_id"}));
    assert_eq!(v1_of(r#"{"x\"$session_id":"s","$session_id_of":"\",\"$session_id"}"#), none);
    assert_eq!(v1_of(r#"{"$session_id_of":"\",\"$session_id","x\"$session_id":"s"}"#), none);
}

/// As posthog-rs coerces them.
#[test]
fn values_are_coerced_or_left_out() {
    for (value, is) in [
        ("true", Some(true)),
        ("false", Some(false)),
        (r#""TRUE""#, Some(true)),
        (r#"" True\n""#, Some(true)),
        (r#""1""#, Some(true)),
        (r#""0""#, Some(false)),
        (r#""false""#, Some(false)),
        ("2", Some(true)),
        ("-0.0", Some(false)),
        ("1e-3", Some(true)),
        (r#""yes""#, None),
        (r#""""#, None),
        ("null", None),
        ("[true]", None),
        (r#"{"a":1}"#, None),
    ] {
        for (name, option) in [
            ("$cookieless_mode", "cookieless_mode"),
            ("$ignore_sent_at", "disable_skew_correction"),
            ("$process_person_profile", "process_person_profile"),
        ] {
            let expected = is.map_or(json!({}), |is| json!({ option: is }));
            let lifted = (json!({"options": expected}), json!({"a": 1}));
            assert_eq!(v1_of(&format!(r#"{{"a":1,"{name}":{value}}}"#)), lifted, "{name}: {value}");
        }
        if !value.starts_with('"') {
            for name in ["$session_id", "$window_id", "$product_tour_id"] {
                let nothing = (json!({"options": {}}), json!({"a": 1}));
                assert_eq!(v1_of(&format!(r#"{{"{name}":{value},"a":1}}"#)), nothing, "{name}: {value}");
            }
        }
    }
}

#[test]
fn what_is_no_event_of_ours_is_moved_too_or_left_as_it_is() {
    assert_eq!(v1(r#"{"event":"a"}"#), r#"{"event":"a","options":{}}"#);
    assert_eq!(
        v1(r#"{"timestamp":"t","properties":{"$window_id":"w","a":1}}"#),
        r#"{"timestamp":"t","properties":{"a":1},"window_id":"w","options":{}}"#
    );
    for broken in
        ["", "}", "\"}", "{\"a\":\"}", "[1]", "{\"properties\":{\"$session_id\":{},\"timestamp\":\"\"}"]
    {
        assert_eq!(v1(broken), broken);
    }
}

#[test]
fn an_ai_event_is_known_by_its_name() {
    let named = |name: &str| event("{}").replace(r#""event":"e""#, &format!(r#""event":"{name}""#));
    assert!(is_ai(named("$ai_generation").as_bytes()));
    for name in ["ai_generation", "$ai", "x$ai_span", r#"\",\"event\":\"$ai_"#] {
        assert!(!is_ai(named(name).as_bytes()), "{name}");
    }
    assert!(!is_ai(event(r#"{"event":"$ai_span"}"#).as_bytes()));
    assert!(!is_ai(b""));
}
