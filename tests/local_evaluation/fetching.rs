//! How definitions come, and what if they do not.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{ErrorKind, FlagSource, FlagsConfig};

use super::support::{MS, builder, until};
use super::{HOUR, OFTEN, is_local, once_local, options, start};

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
