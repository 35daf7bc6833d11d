//! Feature flags that degrade: what a person gets when PostHog answers, answers in part, or not at all.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::layers::CircuitBreakerConfig;
use posthog_health::layers::CircuitState;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{
    AlertName, ErrorKind, Event, FlagOptions, FlagSource, Flags, FlagsConfig, PostHog, RequestContext,
    Surface,
};
use serde_json::{Value, json};
use support::{MS, builder, until};
use tokio::time::Instant;

fn options() -> FlagOptions {
    FlagOptions::default()
}

fn body(server: &FakePostHog, at: usize) -> Value {
    let requests = server.requests();
    let flags: Vec<_> = requests.iter().filter(|request| request.route == Route::Flags).collect();
    serde_json::from_slice(&flags[at].body).unwrap()
}

fn start(server: &FakePostHog) -> PostHog {
    server.set_flag("on", true);
    server.set_flag("off", false);
    server.set_flag("button", "blue");
    builder(server).build().unwrap()
}

fn is_known_good(flags: &Flags, key: &str) -> bool {
    matches!(flags.source(key), FlagSource::LastKnownGood { .. })
}

#[tokio::test]
async fn a_remote_answer_is_read_and_what_it_lacks_is_the_default() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    let flags = posthog.flags("kim", options()).await;
    assert!(flags.is_enabled("on", false) && !flags.is_enabled("off", true));
    assert!(flags.is_enabled("button", false) && flags.is_enabled("unknown", true));
    assert_eq!((flags.variant("button", "red"), flags.variant("on", "red")), ("blue", "red"));
    assert_eq!((flags.variant("off", "red"), flags.variant("unknown", "red")), ("red", "red"));
    assert_eq!((flags.source("on"), flags.source("unknown")), (FlagSource::Remote, FlagSource::Default));
    assert_eq!((flags.payload("on"), flags.error(), flags.iter().count()), (None, None, 3));
    assert_eq!(server.billable_flag_requests(), 1);
}

/// A project with a thousand flags.
#[tokio::test]
async fn a_long_answer_is_read_to_its_end() {
    let server = FakePostHog::start();
    let keys: Vec<_> = (0..1_000).map(|n| format!("flag-{n}")).collect();
    keys.iter().for_each(|key| server.set_flag(key, true));
    let posthog = builder(&server).local_evaluation(FakePostHog::SECRET_KEY, MS(3_600_000)).build().unwrap();
    let flags = posthog.flags("kim", options()).await;
    assert!(keys.iter().all(|key| flags.source(key) == FlagSource::Remote), "{:?}", flags.error());
    let local = async {
        while !matches!(posthog.flags("kim", options()).await.source("flag-999"), FlagSource::Local { .. }) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), local).await.unwrap();
}

#[tokio::test]
async fn everything_that_can_change_the_answer_is_asked() {
    let server = FakePostHog::start();
    let posthog = builder(&server).geoip(false).build().unwrap();
    let all = options()
        .group("company", "acme")
        .person_property("plan", "pro")
        .group_property("company", "seats", 5)
        .only(["a", "b"]);
    posthog.flags("kim", all).await;
    assert_eq!(
        body(&server, 0),
        json!({
            "api_key": FakePostHog::TOKEN, "distinct_id": "kim", "groups": {"company": "acme"},
            "person_properties": {"plan": "pro"}, "group_properties": {"company": {"seats": 5}},
            "flag_keys_to_evaluate": ["a", "b"], "geoip_disable": true,
        })
    );
    assert_eq!(server.requests()[0].query, "v=2");
}

/// Each way in which PostHog can fail, with and without something known.
#[tokio::test]
async fn whatever_posthog_answers_the_last_known_good_stands_in_and_else_the_default() {
    let garbage = Reply::status(200).body(r#"{"flags":[1]}"#);
    let over_quota = r#"{"flags":{},"quotaLimited":["feature_flags"]}"#;
    for (reply, error) in [
        (Reply::status(400), ErrorKind::BadRequest),
        (Reply::status(401), ErrorKind::Unauthorized),
        (Reply::status(402), ErrorKind::QuotaExceeded),
        (Reply::status(429), ErrorKind::RateLimited),
        (Reply::status(500), ErrorKind::Server),
        (Reply::status(503), ErrorKind::Server),
        (Reply::hang(), ErrorKind::Timeout),
        (Reply::reset(), ErrorKind::ConnectionLost),
        (Reply::truncated_body(), ErrorKind::TruncatedResponse),
        (Reply::html(), ErrorKind::WrongHost),
        (garbage, ErrorKind::WrongHost),
        (Reply::status(200).body(over_quota), ErrorKind::QuotaExceeded),
    ] {
        let server = FakePostHog::start();
        server.set_flag("on", true);
        let patience = FlagsConfig::default().timeout(MS(200));
        let posthog = builder(&server).flags(patience).build().unwrap();
        posthog.flags("kim", options()).await;
        server.flags().always(reply);
        let flags = posthog.flags("kim", options()).await;
        assert_eq!(flags.error(), Some(error));
        assert!(flags.is_enabled("on", false) && is_known_good(&flags, "on"), "{error:?}");
        let stranger = posthog.flags("lee", options()).await;
        assert_eq!(stranger.error(), Some(error));
        assert!(!stranger.is_enabled("on", false) && stranger.is_enabled("on", true), "{error:?}");
        let others = posthog.flags("kim", options().group("company", "acme")).await;
        assert_eq!(others.source("on"), FlagSource::Default, "another question has another answer");
    }
}

#[tokio::test]
async fn a_part_of_an_answer_is_kept_and_the_rest_is_what_was_known() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    posthog.flags("kim", options()).await;
    let partial = json!({
        "flags": {"on": {"key": "on", "enabled": false, "variant": null}}, "errorsWhileComputingFlags": true,
    });
    server.flags().always(Reply::status(200).body(partial.to_string()));
    let flags = posthog.flags("kim", options()).await;
    assert_eq!((flags.is_enabled("on", true), flags.source("on")), (false, FlagSource::Remote));
    assert_eq!(flags.variant("button", "red"), "blue");
    assert!(is_known_good(&flags, "button") && flags.error().is_none());
    server.flags().always(Reply::status(503));
    let flags = posthog.flags("kim", options()).await;
    assert!(!flags.is_enabled("on", true) && is_known_good(&flags, "on"), "what came in part is known too");
}

#[tokio::test]
async fn what_is_too_old_is_not_known() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    let young = FlagsConfig::default().last_known_good(10, MS(1));
    let posthog = builder(&server).flags(young).build().unwrap();
    posthog.flags("kim", options()).await;
    server.flags().always(Reply::status(503));
    let learned = Instant::now();
    until(|| learned.elapsed() > MS(2)).await;
    assert_eq!(posthog.flags("kim", options()).await.source("on"), FlagSource::Default);
}

#[tokio::test]
async fn who_asks_the_same_at_once_shares_a_request() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    server.flags().then(Reply::normal().delayed(MS(100)));
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let posthog = posthog.clone();
            tokio::spawn(async move { posthog.flags("kim", options()).await.is_enabled("on", false) })
        })
        .collect();
    for asked in asked {
        assert!(asked.await.unwrap());
    }
    assert_eq!(server.request_count(Route::Flags), 1);
    posthog.flags("kim", options()).await;
    assert_eq!(server.request_count(Route::Flags), 2, "an answer is not kept beyond those who asked");
}

#[tokio::test]
async fn who_gives_up_does_not_waste_the_answer() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    server.flags().then(Reply::normal().delayed(MS(50)));
    let asked = tokio::time::timeout(MS(1), posthog.flags("kim", options())).await;
    assert!(asked.is_err());
    server.flags().always(Reply::status(503));
    let mut flags = posthog.flags("kim", options()).await;
    while !is_known_good(&flags, "on") && flags.source("on") != FlagSource::Remote {
        flags = posthog.flags("kim", options()).await;
    }
    assert!(flags.is_enabled("on", false));
}

/// While the breaker is open nobody waits, and one request in the background finds out that PostHog is back.
#[tokio::test]
async fn an_outage_costs_a_caller_nothing_once_the_breaker_is_open() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    let hour = Duration::from_secs(3600);
    let breaker = CircuitBreakerConfig::default().open_time(MS(1), MS(1));
    let config = FlagsConfig::default().timeout(MS(50)).circuit_breaker(breaker);
    let posthog = builder(&server).flags(config).probe_timeout(hour).build().unwrap();
    posthog.flags("kim", options()).await;
    server.flags().always(Reply::hang());
    let mut flags = posthog.flags("kim", options()).await;
    while flags.error() != Some(ErrorKind::CircuitOpen) {
        assert_eq!(flags.error(), Some(ErrorKind::Timeout));
        flags = posthog.flags("kim", options()).await;
    }
    assert!(flags.is_enabled("on", false) && is_known_good(&flags, "on"));
    // However many ask: a request each time that the breaker lets one try, and nobody waits for it.
    let (before, mut asked) = (server.request_count(Route::Flags), 0);
    while server.request_count(Route::Flags) < before + 3 {
        let flags = posthog.flags(format!("user-{}", asked % 10), options()).await;
        assert_eq!(flags.error(), Some(ErrorKind::CircuitOpen));
        asked += 1;
        tokio::task::yield_now().await;
    }
    assert!(asked > 30, "{asked}");
    server.recover();
    while posthog.flags("kim", options()).await.source("on") != FlagSource::Remote {
        tokio::task::yield_now().await;
    }
    assert_eq!(posthog.circuit_breaker().unwrap().state(), CircuitState::Closed, "capture has its own");
}

#[tokio::test]
async fn alerts_keep_flags_apart_from_capture() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    server.flags().always(Reply::status(401));
    posthog.flags("kim", options()).await;
    until(|| !posthog.alerts().is_empty()).await;
    let alerts = posthog.alerts();
    assert_eq!((alerts[0].name, alerts[0].surface), (AlertName::AuthFailures, Surface::Flags));
}

/// `$feature_flag_called` once for each person and value, with the truth about the source.
#[tokio::test]
async fn what_is_read_is_reported_once_and_with_its_source() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    let context = RequestContext::new().session_id("session-1");
    let flags = context.scope(posthog.flags("kim", options().group("company", "acme"))).await;
    for _ in 0..10 {
        flags.is_enabled("on", false);
        flags.variant("button", "red");
        flags.is_enabled("unknown", false);
        flags.payload("off");
    }
    posthog.flags("kim", options().group("company", "acme")).await.is_enabled("on", false);
    server.flags().always(Reply::status(503));
    server.set_flag("off", true);
    posthog.flags("lee", options()).await.is_enabled("on", true);
    posthog.flush().await.unwrap();
    let events = server.events();
    assert_eq!(events.len(), 4, "{events:#?}");
    let of = |person: &str, key: &str| -> Value {
        let is_it =
            |event: &&Value| event["distinct_id"] == person && event["properties"]["$feature_flag"] == key;
        events.iter().find(is_it).unwrap()["properties"].clone()
    };
    let on = of("kim", "on");
    assert_eq!((&on["$feature_flag_response"], &on["$feature/on"]), (&json!(true), &json!(true)));
    assert_eq!((&on["flag_source"], &on["$session_id"]), (&json!("remote"), &json!("session-1")));
    assert_eq!(on["$groups"], json!({"company": "acme"}));
    assert_eq!((&on["$feature_flag_id"], &on["$feature_flag_request_id"]), (&json!(1), &json!("fake")));
    assert_eq!(on.get("$feature_flag_error"), None);
    assert_eq!(of("kim", "button")["$feature_flag_response"], "blue");
    let unknown = of("kim", "unknown");
    assert_eq!(
        (&unknown["$feature_flag_response"], &unknown["flag_source"]),
        (&Value::Null, &json!("default"))
    );
    assert_eq!(unknown["$feature_flag_error"], "flag_missing");
    assert_eq!(of("lee", "on")["$feature_flag_error"], "api_error_503,flag_missing");
    assert!(events.iter().all(|event| event["event"] == "$feature_flag_called"));
    server.flags().always(Reply::status(503));
    let kept = posthog.flags("kim", options().group("company", "acme")).await;
    kept.is_enabled("off", true);
    posthog.flush().await.unwrap();
    let events = server.events();
    let off = &events[4]["properties"];
    assert_eq!(
        (&off["flag_source"], &off["$feature_flag_response"]),
        (&json!("last_known_good"), &json!(false))
    );
    assert!(off["flag_age_seconds"].is_u64());
}

#[tokio::test]
async fn an_event_can_carry_the_values_that_a_person_had() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    let flags = posthog.flags("kim", options()).await;
    let mut event = Event::new("order placed", "kim");
    flags.attach(&mut event);
    posthog.capture(event);
    posthog.flush().await.unwrap();
    let properties = &server.events()[0]["properties"];
    assert_eq!(properties["$active_feature_flags"], json!(["button", "on"]));
    assert_eq!(
        (&properties["$feature/button"], &properties["$feature/off"]),
        (&json!("blue"), &json!(false))
    );
}

#[tokio::test]
async fn without_a_person_or_a_client_everything_is_the_default_and_nobody_is_asked() {
    let server = FakePostHog::start();
    let posthog = start(&server);
    let nobody = posthog.flags("", options()).await;
    let disabled = PostHog::builder("").disabled(true).build().unwrap().flags("kim", options()).await;
    posthog.shutdown(MS(1000)).await;
    let ended = posthog.flags("kim", options()).await;
    for flags in [nobody, disabled, ended] {
        assert!(flags.is_enabled("on", true) && !flags.is_enabled("on", false));
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_flags() {
    let server = FakePostHog::start();
    server.flags().always(Reply::hang());
    let hour = FlagsConfig::default().timeout(Duration::from_secs(3600));
    let posthog = builder(&server).flags(hour).build().unwrap();
    let asking = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.flags("kim", options()).await.error() }
    });
    server.wait_for_requests(Route::Flags, 1).await;
    posthog.shutdown(MS(1000)).await;
    assert_eq!(asking.await.unwrap(), Some(ErrorKind::CircuitOpen), "it was ended");
}

/// A request that ended with its runtime holds up nobody.
#[test]
fn another_runtime_can_ask_again() {
    let server = FakePostHog::start();
    server.flags().then(Reply::hang());
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let posthog = first.block_on(async {
        let posthog = start(&server);
        let asked = tokio::time::timeout(MS(20), posthog.flags("kim", options())).await;
        assert!(asked.is_err());
        posthog
    });
    drop(first);
    let flags = runtime().block_on(posthog.flags("kim", options()));
    assert!(flags.is_enabled("on", false), "{flags:?}");
}

#[test]
fn neither_the_person_nor_a_value_is_shown_by_debug() {
    let server = FakePostHog::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let flags = runtime.block_on(async { start(&server).flags("s3cret-person", options()).await });
    assert_eq!(format!("{flags:?}"), "Flags { flags: 3, error: None }");
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let default = FlagsConfig::default;
    for (flags, field) in [
        (default().timeout(MS(0)), "flags.timeout"),
        (default().last_known_good(0, MS(1)), "flags.last_known_good.persons"),
        (default().last_known_good(1, MS(0)), "flags.last_known_good.age"),
        (default().circuit_breaker(CircuitBreakerConfig::default().window(0)), "circuit_breaker.window"),
    ] {
        let error = PostHog::builder("phc_token").flags(flags).build().unwrap_err();
        assert_eq!(error.field(), field);
    }
}
