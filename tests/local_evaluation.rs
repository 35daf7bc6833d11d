//! Flags that are evaluated here, by definitions that are fetched with a secret key.

#[path = "support/client.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{
    AlertName, CredentialSource, ErrorKind, FlagOptions, FlagSource, Flags, FlagsConfig, PostHog, Surface,
};
use serde_json::{Value, json};
use support::{MS, builder, until};

const HOUR: Duration = Duration::from_secs(3600);
/// The shortest that there is.
const OFTEN: Duration = Duration::from_secs(1);

fn options() -> FlagOptions {
    FlagOptions::default()
}

fn start(server: &FakePostHog) -> PostHog {
    server.set_flag("on", true);
    server.set_flag("off", false);
    server.set_flag("button", "blue");
    builder(server).local_evaluation(FakePostHog::SECRET_KEY, HOUR).build().unwrap()
}

/// Its key is looked at so rarely that nothing in a test is due to it.
fn start_with_key_in(server: &FakePostHog, file: &Path) -> PostHog {
    server.set_flag("on", true);
    fs::write(file, FakePostHog::SECRET_KEY).unwrap();
    let source = CredentialSource::file(file).check_every(HOUR);
    builder(server).local_evaluation(source, HOUR).build().unwrap()
}

fn is_local(flags: &Flags, key: &str) -> bool {
    matches!(flags.source(key), FlagSource::Local { .. })
}

/// Asks until the definitions are there.
async fn once_local(posthog: &PostHog) -> Flags {
    let asked = async {
        loop {
            let flags = posthog.flags("kim", options().only(["on"])).await;
            if is_local(&flags, "on") {
                return flags;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap()
}

/// Definitions of one flag that is on for persons of this plan.
fn for_plan(plan: &str) -> Value {
    let property = json!({"key": "plan", "value": plan, "operator": "exact", "type": "person"});
    json!({
        "key": "for-plan", "active": true,
        "filters": {
            "groups": [{"properties": [property], "rollout_percentage": 100.0}],
            "payloads": {"true": "{\"seats\": 5}"},
        },
    })
}

fn definitions(flags: &[Value]) -> Reply {
    let body = json!({"flags": flags, "group_type_mapping": {}, "cohorts": {}});
    Reply::status(200).header("content-type", "application/json").body(body.to_string())
}

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

#[tokio::test]
async fn in_an_outage_the_definitions_stand_in_up_to_an_age() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    let age = MS(1_500);
    let posthog = builder(&server)
        .flags(FlagsConfig::default().timeout(MS(100)).last_known_good(10, age))
        .local_evaluation(FakePostHog::SECRET_KEY, OFTEN)
        .build()
        .unwrap();
    once_local(&posthog).await;
    server.refuse();
    let flags = posthog.flags("lee", options()).await;
    assert!(is_local(&flags, "on") && flags.is_enabled("on", false));
    assert_eq!(flags.error(), None);
    let outlived = async {
        while is_local(&posthog.flags("lee", options()).await, "on") {
            tokio::time::sleep(MS(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), outlived).await.unwrap();
    assert!(!posthog.flags("lee", options()).await.is_enabled("on", false), "too old to believe");
    server.accept();
    once_local(&posthog).await;
}

/// Definitions that do not come cost nothing but local evaluation.
#[tokio::test]
async fn without_definitions_flags_are_asked_for() {
    for reply in [
        Reply::status(401),
        Reply::status(402),
        Reply::status(403),
        Reply::status(429).retry_after("1"),
        Reply::status(500),
        Reply::hang(),
        Reply::reset(),
        Reply::truncated_body(),
        Reply::html(),
        Reply::redirect("https://elsewhere.example"),
        Reply::status(304),
        Reply::status(200).body(r#"{"flags": {}}"#),
    ] {
        let server = FakePostHog::start();
        server.definitions().always(reply);
        let posthog = start(&server);
        posthog.flags("kim", options()).await;
        server.wait_for_requests(Route::Definitions, 1).await;
        let flags = posthog.flags("kim", options()).await;
        assert_eq!((flags.source("on"), flags.error()), (FlagSource::Remote, None));
        posthog.shutdown(MS(5_000)).await;
    }
}

#[tokio::test]
async fn definitions_that_are_the_same_are_not_sent_again() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    let posthog = builder(&server).local_evaluation(FakePostHog::SECRET_KEY, OFTEN).build().unwrap();
    once_local(&posthog).await;
    server.wait_for_requests(Route::Definitions, 2).await;
    until(|| server.requests().iter().any(|request| request.status == Some(304))).await;
    // They are confirmed with that, and so as young as can be.
    let confirmed = async {
        while !matches!(posthog.flags("kim", options()).await.source("on"), FlagSource::Local { age } if age < OFTEN / 2)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), confirmed).await.unwrap();
    // And others are taken.
    server.set_flag("on", false);
    server.wait_for_requests(Route::Definitions, 3).await;
    let changed = async {
        while posthog.flags("kim", options()).await.is_enabled("on", false) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changed).await.unwrap();
}

#[tokio::test]
async fn definitions_are_left_alone_for_as_long_as_posthog_wants() {
    let server = FakePostHog::start();
    server.definitions().always(Reply::status(429).retry_after("3"));
    let posthog = builder(&server).local_evaluation(FakePostHog::SECRET_KEY, OFTEN).build().unwrap();
    posthog.flags("kim", options()).await;
    server.wait_for_requests(Route::Definitions, 1).await;
    let refused = std::time::Instant::now();
    server.wait_for_requests(Route::Definitions, 2).await;
    assert!(refused.elapsed() > MS(2_500), "{:?}", refused.elapsed());
}

/// As in tests, and in programs with a runtime for each part.
#[test]
fn fetching_goes_on_in_another_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = FakePostHog::start();
    server.definitions().always(Reply::hang());
    let first = runtime();
    let posthog = first.block_on(async {
        let posthog = start(&server);
        posthog.flags("kim", options()).await;
        server.wait_for_requests(Route::Definitions, 1).await;
        posthog
    });
    drop(first);
    server.definitions().recover();
    runtime().block_on(once_local(&posthog));
}

/// The project secret key was rotated, and then its backup deleted.
#[tokio::test]
async fn a_new_secret_key_is_taken_without_a_restart() {
    const NEW: &str = "phs_newNewNewNewNewNewNewNewNewNewNewNewNewNewNe";
    let (server, file) = (FakePostHog::start(), tempfile::NamedTempFile::new().unwrap());
    let posthog = start_with_key_in(&server, file.path());
    once_local(&posthog).await;
    let key_of = |n: usize| {
        let fetches = server.requests().into_iter().filter(|request| request.route == Route::Definitions);
        fetches.collect::<Vec<_>>()[n].header("authorization").unwrap().to_owned()
    };
    // On demand, while the backup works.
    server.know_secret_key(NEW);
    fs::write(file.path(), NEW).unwrap();
    assert!(posthog.reload_credentials().await.unwrap());
    server.wait_for_requests(Route::Definitions, 2).await;
    assert_eq!(key_of(1), format!("Bearer {NEW}"));
    assert!(!posthog.reload_credentials().await.unwrap());
}

#[tokio::test]
async fn a_refused_secret_key_fires_is_renewed_and_local_evaluation_resumes() {
    const NEW: &str = "phx_newNewNewNewNewNewNewNewNewNewNewNewNewNewNe";
    let (server, file) = (FakePostHog::start(), tempfile::NamedTempFile::new().unwrap());
    let posthog = start_with_key_in(&server, file.path());
    server.forget_secret_key(FakePostHog::SECRET_KEY);
    server.know_secret_key(NEW);
    let flags = posthog.flags("kim", options()).await;
    assert_eq!(flags.source("on"), FlagSource::Remote);
    let fires = || {
        posthog
            .alerts()
            .iter()
            .any(|alert| (alert.name, alert.surface) == (AlertName::AuthFailures, Surface::Flags))
    };
    until(fires).await;
    // The source is asked again by itself.
    fs::write(file.path(), NEW).unwrap();
    once_local(&posthog).await;
}

/// A stray answer: the same key is taken again.
#[tokio::test]
async fn a_key_that_works_again_is_asked_for_no_more() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    server.definitions().then(Reply::status(401));
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let provider = CredentialSource::provider(move || {
        counts.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, String>(FakePostHog::SECRET_KEY.to_owned()) }
    });
    let posthog = builder(&server).local_evaluation(provider, OFTEN).build().unwrap();
    once_local(&posthog).await;
    let (before, fetches) = (asked.load(Ordering::Relaxed), server.request_count(Route::Definitions));
    assert!(before > 2, "while it was refused, again and again: {before}");
    server.wait_for_requests(Route::Definitions, fetches + 1).await;
    assert!(asked.load(Ordering::Relaxed) <= before + 1, "one may have been under way");
}

#[tokio::test]
async fn a_provider_may_come_late_with_the_secret_key() {
    let server = FakePostHog::start();
    server.set_flag("on", true);
    let (give, given) = tokio::sync::watch::channel(None::<String>);
    let provider = CredentialSource::provider(move || {
        let mut given = given.clone();
        async move {
            let key = given.wait_for(Option::is_some).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(key.clone().unwrap_or_default())
        }
    });
    let posthog = builder(&server).local_evaluation(provider, HOUR).build().unwrap();
    assert_eq!(posthog.flags("kim", options()).await.source("on"), FlagSource::Remote);
    assert_eq!(server.request_count(Route::Definitions), 0);
    give.send(Some(FakePostHog::SECRET_KEY.to_owned())).unwrap();
    once_local(&posthog).await;
}

/// Its task, its connections.
#[tokio::test]
async fn shutdown_ends_the_fetching() {
    let server = FakePostHog::start();
    server.definitions().always(Reply::hang());
    let posthog = start(&server);
    posthog.flags("kim", options()).await;
    server.wait_for_requests(Route::Definitions, 1).await;
    posthog.shutdown(HOUR).await;
    tokio::time::timeout(Duration::from_secs(60), server.wait_for_connections_closed()).await.unwrap();
    let flags = posthog.flags("kim", options()).await;
    assert_eq!((flags.error(), server.request_count(Route::Definitions)), (Some(ErrorKind::CircuitOpen), 1));
}
