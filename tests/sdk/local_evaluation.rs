use std::io;
use std::time::Duration;

use posthog_health::PostHog;
use posthog_health::posthog_rs::EvaluateFlagsOptions;
use posthog_health::testing::{FakePostHog, Reply, Route};
use serde_json::json;

use crate::support::{MS, assert_balanced, builder, capture, until};
use crate::{assert_only_ours_captured, named};

const KEY: &str = "phx_fakeFakeFake";

/// Serves the definition of one flag that is on for everybody.
fn define_a_flag(server: &FakePostHog) {
    let flag = json!({
        "key": "beta",
        "active": true,
        "filters": {"groups": [{"properties": [], "rollout_percentage": 100.0}], "payloads": {}},
    });
    let definitions = json!({"flags": [flag], "group_type_mapping": {}, "cohorts": {}});
    server
        .always(Reply::status(200).header("content-type", "application/json").body(definitions.to_string()));
    server.batch().always(Reply::normal());
    server.flags().always(Reply::status(500));
}

fn only_here() -> EvaluateFlagsOptions {
    EvaluateFlagsOptions { only_evaluate_locally: true, ..EvaluateFlagsOptions::default() }
}

#[tokio::test]
async fn flags_are_evaluated_here_and_their_events_come_to_us() {
    let server = FakePostHog::start();
    define_a_flag(&server);
    let posthog = builder(&server).local_evaluation(KEY, Duration::from_secs(3600)).build().unwrap();
    assert_eq!(server.requests().len(), 0, "not before somebody asks for it");
    let sdk = posthog.sdk().await.unwrap();
    let flags = sdk.evaluate_flags("user-1", only_here()).await.unwrap();
    assert!(flags.is_enabled("beta"));
    posthog.flush().await.unwrap();
    let [event] = &named(&server, "$feature_flag_called")[..] else { panic!("one event") };
    assert_eq!(event["properties"]["locally_evaluated"], true);
    let requests = server.requests();
    let fetch = requests.iter().find(|request| request.route == Route::Definitions).unwrap();
    assert_eq!(fetch.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(server.request_count(Route::Flags), 0);
    assert_only_ours_captured(&server);
}

/// A PostHog that hangs holds up who asks for the SDK, and nobody else.
#[tokio::test]
async fn a_start_that_hangs_delays_neither_capture_nor_exceptions_nor_flush_nor_shutdown() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    server.batch().always(Reply::normal());
    let hour = Duration::from_secs(3600);
    let posthog = builder(&server).request_timeout(hour).local_evaluation(KEY, hour).build().unwrap();
    let asks = || {
        let posthog = posthog.clone();
        tokio::spawn(async move { posthog.sdk().await.is_some() })
    };
    let (one, two) = (asks(), asks());
    server.wait_for_requests(Route::Definitions, 1).await;
    capture(&posthog, 1);
    posthog.capture_exception(&io::Error::other("checkout failed"));
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 2);
    let [exception] = &named(&server, "$exception")[..] else { panic!("one event") };
    assert_eq!(exception["properties"]["$exception_list"][0]["value"], "checkout failed");
    assert!(!one.is_finished() && !two.is_finished(), "still waiting for definitions");

    let report = posthog.shutdown(hour).await;
    assert_eq!((report.undelivered, report.dropped), (0, 0));
    assert!(!one.await.unwrap() && !two.await.unwrap(), "there is no SDK any more");
    assert_eq!(server.request_count(Route::Definitions), 1, "one start at a time");
    tokio::time::timeout(Duration::from_secs(60), server.wait_for_connections_closed()).await.unwrap();
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn a_start_that_was_given_up_is_left_to_the_next_caller() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let hour = Duration::from_secs(3600);
    let posthog = builder(&server).request_timeout(hour).local_evaluation(KEY, hour).build().unwrap();
    let gives_up = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.sdk().await.is_some() }
    });
    server.wait_for_requests(Route::Definitions, 1).await;
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    define_a_flag(&server);
    assert!(posthog.sdk().await.is_some());
}

/// The poller of definitions ends with the SDK.
#[test]
fn shutdown_ends_the_poller() {
    let server = FakePostHog::start();
    define_a_flag(&server);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let posthog = builder(&server).local_evaluation(KEY, Duration::from_secs(1)).build().unwrap();
        drop(posthog.sdk().await.unwrap());
        server.wait_for_requests(Route::Definitions, 2).await;
        posthog.shutdown(Duration::from_secs(60)).await;
        until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
        tokio::time::timeout(Duration::from_secs(60), server.wait_for_connections_closed()).await.unwrap();
    });
}

#[tokio::test]
async fn a_key_that_cannot_work_is_told_by_build_and_shown_by_nothing() {
    let build = |key: &str, interval| {
        let builder = PostHog::builder("phc_abc").local_evaluation(key, interval);
        assert!(!format!("{builder:?}").contains("s3cret"));
        builder.build().map(|posthog| format!("{posthog:?}")).map_err(|error| error.to_string())
    };
    let half_a_minute = Duration::from_secs(30);
    for key in ["", "phc_s3cret", "phx_s3cret s3cret"] {
        let error = build(key, half_a_minute).unwrap_err();
        assert!(error.starts_with("secret_key ") && !error.contains("s3cret"), "{error}");
    }
    assert!(build("phx_s3cret", MS(999)).unwrap_err().starts_with("local_evaluation is 999ms"));
    assert!(!build("phx_s3cret", half_a_minute).unwrap().contains("s3cret"));
    assert!(PostHog::builder("").disabled(true).local_evaluation("", half_a_minute).build().is_ok());
}
