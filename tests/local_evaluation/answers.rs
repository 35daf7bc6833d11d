//! What is evaluated here, and what PostHog is asked for.

use posthog_health::FlagSource;
use posthog_health::testing::{FakePostHog, Route};
use serde_json::{Value, json};

use super::support::builder;
use super::{HOUR, definitions, for_plan, is_local, once_local, options, start};

#[tokio::test]
async fn once_the_definitions_are_there_nobody_is_asked() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    assert_eq!(server.requests().len(), 0, "no request that nobody caused");
    let first = posthog.flags("kim", options()).await;
    assert_eq!(first.source("on"), FlagSource::Remote, "it does not wait for definitions");

    once_local(&posthog).await;
    let asked = server.request_count(Route::Flags);
    let flags = posthog.flags("lee", options()).await;
    assert!(flags.is_enabled("on", false) && !flags.is_enabled("off", true));
    assert_eq!((flags.variant("button", "red"), flags.error(), flags.iter().count()), ("blue", None, 3));
    assert!(["on", "off", "button"].iter().all(|key| is_local(&flags, key)));
    assert_eq!(posthog.flags("lee", options().only(["on", "button"])).await.iter().count(), 2);
    assert_eq!(server.request_count(Route::Flags), asked);

    let requests = server.requests();
    let fetches: Vec<_> = requests.iter().filter(|request| request.route == Route::Definitions).collect();
    let [fetch] = fetches[..] else { panic!("one fetch") };
    let header = |name| fetch.header(name).unwrap();
    assert_eq!(header("authorization"), format!("Bearer {}", FakePostHog::SECRET_KEY));
    assert_eq!((header("x-posthog-project-api-key"), &*fetch.query), (FakePostHog::TOKEN, "send_cohorts"));
}

#[tokio::test]
async fn the_event_tells_that_it_was_evaluated_here() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    once_local(&posthog).await;
    let flags = posthog.flags("lee", options()).await;
    flags.is_enabled("button", false);
    posthog.flush().await.unwrap();
    let events = server.events();
    let [event] = &events[..] else { panic!("one event") };
    let properties = &event["properties"];
    assert_eq!(
        (&event["event"], &properties["$feature_flag_response"]),
        (&json!("$feature_flag_called"), &json!("blue"))
    );
    assert_eq!(
        (&properties["flag_source"], &properties["locally_evaluated"], &properties["flag_age_seconds"]),
        (&json!("local_evaluation"), &json!(true), &json!(0))
    );
    assert_eq!(properties["$feature_flag_reason"], "Evaluated locally");
    assert_eq!(
        (&properties["$feature_flag_error"], &properties["$feature_flag_request_id"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn what_cannot_be_decided_here_is_asked_and_what_can_stands() {
    let server = FakePostHog::start();
    let on_for_all = json!({"key": "on", "active": true, "filters": {"groups": [{"properties": []}]}});
    server.definitions().always(definitions(&[for_plan("pro"), on_for_all]));
    // PostHog knows the person's plan, and has another mind about the other flag.
    server.set_flag("for-plan", true);
    server.set_flag("on", false);
    let posthog = builder(&server).local_evaluation(FakePostHog::SECRET_KEY, HOUR).build().unwrap();
    once_local(&posthog).await;

    let flags = posthog.flags("kim", options()).await;
    assert_eq!((flags.source("for-plan"), flags.is_enabled("for-plan", false)), (FlagSource::Remote, true));
    assert!(is_local(&flags, "on") && flags.is_enabled("on", false));

    let asked = server.request_count(Route::Flags);
    let flags = posthog.flags("kim", options().person_property("plan", "pro")).await;
    assert!(is_local(&flags, "for-plan") && flags.is_enabled("for-plan", false));
    assert_eq!(flags.payload("for-plan"), Some(&json!({"seats": 5})));
    let flags = posthog.flags("kim", options().person_property("plan", "free")).await;
    assert!(is_local(&flags, "for-plan") && !flags.is_enabled("for-plan", true));
    assert_eq!(flags.payload("for-plan"), None);
    assert_eq!(server.request_count(Route::Flags), asked);
    // A flag that no definition names may be new.
    posthog.flags("kim", options().only(["brand-new"])).await;
    assert_eq!(server.request_count(Route::Flags), asked + 1);
}

/// PostHog alone knows which id an identified person had before, and on which device.
#[tokio::test]
async fn what_is_decided_by_another_id_is_asked() {
    let server = FakePostHog::start();
    let on_for_all =
        |key: &str| json!({"key": key, "active": true, "filters": {"groups": [{"properties": []}]}});
    let with = |key: &str, field: &str, value: Value| {
        let mut flag = on_for_all(key);
        flag[field] = value;
        flag
    };
    let continues = |key| with(key, "ensure_experience_continuity", json!(true));
    let depends = json!({"key": "$feature/continues", "value": true, "operator": "exact", "type": "flag"});
    let mut inactive = continues("inactive");
    inactive["active"] = json!(false);
    server.definitions().always(definitions(&[
        on_for_all("on"),
        with("usual", "bucketing_identifier", json!("distinct_id")),
        continues("continues"),
        with("by-device", "bucketing_identifier", json!("device_id")),
        with("depends", "filters", json!({"groups": [{"properties": [depends]}]})),
        inactive,
    ]));
    let asked_for = ["by-device", "continues", "depends"];
    for key in asked_for {
        server.set_flag(key, false);
    }
    let posthog = builder(&server).local_evaluation(FakePostHog::SECRET_KEY, HOUR).build().unwrap();
    once_local(&posthog).await;
    let all = posthog.flags("kim", options()).await;
    let those = posthog.flags("kim", options().only(["on", "usual"].into_iter().chain(asked_for))).await;
    for flags in [all, those] {
        assert!(is_local(&flags, "on") && is_local(&flags, "usual"));
        for key in asked_for {
            assert_eq!(
                (flags.source(key), flags.is_enabled(key, true)),
                (FlagSource::Remote, false),
                "{key}"
            );
        }
    }
    let asked = server.request_count(Route::Flags);
    let flags = posthog.flags("kim", options().only(["on", "inactive"])).await;
    assert!(is_local(&flags, "inactive") && !flags.is_enabled("inactive", true), "off is off for all");
    assert_eq!(server.request_count(Route::Flags), asked);
}
