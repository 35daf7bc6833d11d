//! From `build` to `shutdown`: what is refused at the start, and that nothing is left at the end.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{
    ConfigError, DropReason, Event, FlushFailure, PostHog, Reason, RolloutReason, RolloutVerdict,
};
use support::{MS, assert_balanced, builder, capture, client_without_runtime, until};
use tokio::time::Instant;

/// The bound holds against a server that hangs, with the queue full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_returns_at_its_deadline_whatever_posthog_does() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).request_timeout(Duration::from_secs(30)).build().unwrap();
    capture(&posthog, 10_000);
    server.wait_for_requests(Route::Batch, 4).await;
    let started = Instant::now();
    let report = posthog.shutdown(Duration::from_secs(1)).await;
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    assert_eq!((report.delivered, report.undelivered, report.dropped), (0, 10_000, 0));
    assert_balanced(posthog.stats());
    assert_eq!(posthog.stats().dropped.count(DropReason::Shutdown), 10_000);
}

#[tokio::test]
async fn shutdown_delivers_what_it_can() {
    let server = FakePostHog::start();
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 1_050);
    let report = posthog.shutdown(Duration::from_secs(10)).await;
    assert_eq!((report.delivered, report.undelivered, report.dropped), (1_050, 0, 0));
    assert_eq!(server.distinct(), 1_050);

    capture(&posthog, 3);
    assert_eq!(posthog.stats().dropped.count(DropReason::AfterShutdown), 3);
    assert_eq!(posthog.flush().await.unwrap_err().lost, 3);
    assert_eq!(posthog.shutdown(MS(1)).await.delivered, 0);
    assert_eq!(posthog.health_check().await.reasons, [Reason::ShutDown]);
    assert_eq!(server.request_count(Route::Flags), 0);
}

#[tokio::test]
async fn two_shutdowns_at_once_are_one() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 500);
    let deadline = Duration::from_secs(10);
    let (one, two) = tokio::join!(posthog.shutdown(deadline), posthog.shutdown(deadline));
    assert_eq!((one.undelivered, two.undelivered), (0, 0));
    assert_eq!((posthog.stats().delivered, server.distinct()), (500, 500));
}

#[tokio::test]
async fn the_shorter_of_two_deadlines_is_kept() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server).request_timeout(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 100);
    server.wait_for_requests(Route::Batch, 1).await;
    let long = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.shutdown(Duration::from_secs(3600)).await }
    });
    until(|| posthog.health().reasons == [Reason::ShuttingDown]).await;
    let short = tokio::time::timeout(Duration::from_secs(20), posthog.shutdown(MS(20))).await.unwrap();
    assert_eq!(short.undelivered + long.await.unwrap().undelivered, 100);
}

#[test]
fn shutdown_works_after_the_runtime_of_the_client_has_ended() {
    let server = FakePostHog::start();
    let posthog = client_without_runtime(&server);
    capture(&posthog, 3);
    let other = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(other.block_on(posthog.shutdown(Duration::MAX)).undelivered, 3);
}

const HOUR: Duration = Duration::from_secs(3600);

/// Entering a runtime lets a client be built there, and drives nothing.
#[test]
fn a_runtime_that_does_not_run_is_noticed() {
    let server = FakePostHog::start();
    let undriven = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let posthog = {
        let _entered = undriven.enter();
        builder(&server).flush_timeout(HOUR).build().unwrap()
    };
    capture(&posthog, 3);
    let other = tokio::runtime::Runtime::new().unwrap();
    other.block_on(async {
        until(|| posthog.health().reasons == [Reason::WorkerStopped]).await;
        let verdict = posthog.rollout_verdict();
        assert_eq!(verdict, RolloutVerdict::Rollback(vec![RolloutReason::WorkerStopped]));
        let flushed = tokio::time::timeout(Duration::from_secs(60), posthog.flush()).await.unwrap();
        let error = flushed.unwrap_err();
        assert_eq!((error.reason, error.undelivered, error.lost), (FlushFailure::WorkerStopped, 3, 0));
    });
    // It runs after all.
    undriven.block_on(async {
        until(|| posthog.health().is_healthy()).await;
        posthog.flush().await.unwrap();
    });
    assert_eq!(server.distinct(), 3);
}

/// As by a task that never yields.
#[test]
fn a_runtime_that_is_blocked_is_noticed_and_so_is_its_recovery() {
    let server = FakePostHog::start();
    let of_the_client =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let posthog = of_the_client.block_on(async { builder(&server).build().unwrap() });
    let (release, released) = std::sync::mpsc::channel::<()>();
    of_the_client.spawn(async move { released.recv() });
    let other = tokio::runtime::Runtime::new().unwrap();
    other.block_on(async {
        until(|| posthog.health().reasons == [Reason::WorkerStopped]).await;
        drop(release);
        until(|| posthog.health().is_healthy()).await;
    });
}

#[test]
fn flush_returns_at_once_when_the_runtime_of_the_client_has_ended() {
    let server = FakePostHog::start();
    let posthog = client_without_runtime(&server);
    capture(&posthog, 3);
    let other = tokio::runtime::Runtime::new().unwrap();
    let error = other.block_on(posthog.flush()).unwrap_err();
    assert_eq!((error.reason, error.undelivered), (FlushFailure::WorkerStopped, 3));
    assert!(error.to_string().starts_with("nobody delivers, with 3 events undelivered"), "{error}");
}

/// A job that flushes and ends must not report success.
#[tokio::test]
async fn flush_and_shutdown_report_events_over_quota() {
    let server = FakePostHog::start();
    server.limit_quota(true);
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 5);
    // They have met their end before it is called.
    until(|| posthog.stats().dropped.count(DropReason::OverQuota) == 5).await;
    let error = posthog.flush().await.unwrap_err();
    assert_eq!((error.reason, error.undelivered), (FlushFailure::NotDelivered, 0));
    assert_eq!((error.lost, error.set_aside), (5, 0));
    posthog.flush().await.unwrap();

    capture(&posthog, 2);
    until(|| posthog.stats().dropped.count(DropReason::OverQuota) == 7).await;
    let report = posthog.shutdown(Duration::from_secs(10)).await;
    assert_eq!((report.lost, report.dropped, report.is_complete()), (2, 0, false));
}

#[tokio::test]
async fn flush_and_shutdown_report_dead_letters() {
    let server = FakePostHog::start();
    server.reject_events_named(&["bad"]);
    let posthog = builder(&server).build().unwrap();
    for name in ["good", "bad", "good"] {
        posthog.capture(Event::new(name, "u"));
    }
    let error = posthog.flush().await.unwrap_err();
    assert_eq!((error.reason, error.lost, error.set_aside), (FlushFailure::NotDelivered, 0, 1));
    assert_eq!(
        error.to_string(),
        "not all events were delivered; 0 events were lost and 1 set aside: stats() and dead_letters() say why"
    );
    // What a caller knows of is no news.
    let report = posthog.shutdown(Duration::from_secs(10)).await;
    assert_eq!((report.set_aside, report.dead_letters, report.is_complete()), (0, 1, true));
}

/// It was asked for.
#[tokio::test]
async fn an_event_that_a_hook_drops_is_no_loss() {
    let server = FakePostHog::start();
    let posthog = builder(&server).before_send(|_| None).build().unwrap();
    capture(&posthog, 3);
    posthog.flush().await.unwrap();
    assert!(posthog.shutdown(Duration::from_secs(10)).await.is_complete());
}

#[tokio::test]
async fn health_says_that_a_shutdown_still_delivers() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 100);
    server.wait_for_requests(Route::Batch, 1).await;
    let shutdown = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.shutdown(Duration::from_secs(1)).await }
    });
    until(|| posthog.health().reasons == [Reason::ShuttingDown]).await;
    assert_eq!(shutdown.await.unwrap().lost, 100);
    assert_eq!(posthog.health().reasons, [Reason::ShutDown]);
}

/// A pause of our own must not use up the deadline.
#[tokio::test]
async fn shutdown_in_a_refusal_pause_tries_once_more() {
    let server = FakePostHog::start();
    server.batch().then(Reply::status(401));
    let posthog = builder(&server).refusal_pause(HOUR).build().unwrap();
    capture(&posthog, 10);
    until(|| posthog.health().last_error.is_some()).await;
    assert_eq!(posthog.shutdown(Duration::from_secs(10)).await.delivered, 10);
}

#[tokio::test]
async fn a_cancelled_shutdown_can_be_called_again() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 500);
    assert!(tokio::time::timeout(MS(20), posthog.shutdown(Duration::from_secs(60))).await.is_err());
    assert_eq!(posthog.shutdown(MS(20)).await.undelivered, 500);
}

/// Threads of this process, by the kernel's count.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn no_task_thread_or_connection_is_left_after_shutdown() {
    let server = FakePostHog::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(MS(1))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let threads_before = threads();
        server.flags().always(Reply::hang());
        // What is not ended by shutdown would not end by itself.
        let hour = Duration::from_secs(3600);
        let posthog = builder(&server).request_timeout(hour).probe_timeout(hour).build().unwrap();
        capture(&posthog, 100);
        server.wait_for_distinct(100).await;
        until(|| posthog.stats().delivered == 100).await;
        // A linger may cut the next events anywhere: none of the batches that they make is answered.
        server.batch().always(Reply::hang());
        let answered = server.request_count(Route::Batch);
        capture(&posthog, 100);
        server.wait_for_requests(Route::Batch, answered + 1).await;
        let _ = tokio::time::timeout(MS(10), posthog.health_check()).await;
        assert!(server.open_connections() > 0);

        posthog.shutdown(MS(50)).await;
        // The HTTP client's connections end with its last handle, each in a task of its own.
        tokio::time::timeout(Duration::from_secs(20), server.wait_for_connections_closed()).await.unwrap();
        until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
        until(|| threads() <= threads_before).await;
        assert_eq!(posthog.stats().delivered, 100);
    });
}

#[tokio::test]
async fn dropping_the_last_handle_does_not_block_and_ends_everything() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    let other = posthog.clone();
    capture(&posthog, 1_000);
    server.wait_for_requests(Route::Batch, 4).await;
    drop(posthog);
    assert_eq!(other.stats().queued, 1_000, "a handle is left, so all goes on");
    drop(other);
    tokio::time::timeout(Duration::from_secs(20), server.wait_for_connections_closed()).await.unwrap();
}

/// Handles go to any task, and so do the futures of their methods.
#[test]
fn everything_is_send_and_sync() {
    fn send<T: Send>(_: T) {}
    fn send_and_sync<T: Send + Sync + Clone + 'static>() {}
    send_and_sync::<PostHog>();
    let futures = |posthog: &'static PostHog| {
        send(posthog.flush());
        send(posthog.shutdown(MS(1)));
        send(posthog.health_check());
        send(posthog.reload_credentials());
    };
    let _ = futures;
}

#[test]
fn outside_a_runtime_the_error_says_what_to_do() {
    let error = PostHog::builder("phc_abc").build().unwrap_err();
    assert_eq!(error.field(), "build()");
    assert!(error.to_string().contains("runtime"), "{error}");
    assert!(!error.to_string().contains("enter()"), "a guard drives nothing: {error}");
}

#[tokio::test]
async fn impossible_configurations_are_named_by_build() {
    let field = |change: fn(posthog_health::PostHogBuilder) -> posthog_health::PostHogBuilder| {
        change(PostHog::builder("phc_abc")).build().map_or_else(|error| error.field(), |_| "built")
    };
    assert_eq!(field(|builder| builder), "built");
    assert_eq!(field(|builder| builder.host("http://example.com")), "host");
    assert_eq!(field(|builder| builder.host("http://example.com").allow_insecure_http(true)), "built");
    assert_eq!(field(|builder| builder.batch_events(0)), "batch_events");
    assert_eq!(field(|builder| builder.batch_bytes(10)), "batch_bytes");
    assert_eq!(field(|builder| builder.linger(Duration::ZERO)), "linger");
    assert_eq!(field(|builder| builder.queue_events(0)), "queue_events");
    assert_eq!(field(|builder| builder.queue_bytes(1023)), "queue_bytes");
    assert_eq!(field(|builder| builder.queue_events(400).batch_events(401)), "batch_events");
    let error = PostHog::builder("phc_abc").queue_events(400).batch_events(401).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_events is 401, more than queue_events (400): use at most 400, or raise queue_events"
    );
    // What was not set follows.
    assert_eq!(field(|builder| builder.queue_events(50)), "built");
    assert_eq!(field(|builder| builder.queue_bytes(1024)), "built");
    assert_eq!(field(|builder| builder.batch_bytes(2048).queue_bytes(2047)), "batch_bytes");
    assert_eq!(field(|builder| builder.in_flight(0)), "in_flight");
    assert_eq!(field(|builder| builder.request_timeout(Duration::MAX)), "request_timeout");
    assert_eq!(field(|builder| builder.probe_timeout(Duration::ZERO)), "probe_timeout");
    assert_eq!(field(|builder| builder.probe_cache(Duration::ZERO)), "probe_cache");
    assert_eq!(field(|builder| builder.flush_timeout(Duration::ZERO)), "flush_timeout");
    assert_eq!(field(|builder| builder.refusal_pause(Duration::ZERO)), "refusal_pause");
    assert_eq!(field(|builder| builder.longest_retry_after(Duration::ZERO)), "longest_retry_after");
    let token = |token: &str| PostHog::builder(token).build().unwrap_err().to_string();
    for (value, says) in
        [("", "is empty"), ("phx_secret", "personal API key"), ("phs_secret", "secret API key")]
    {
        assert!(token(value).contains(says) && !token(value).contains("phx_s"), "{}", token(value));
    }
}

/// The environment cannot be changed from within a test, so each case is a process of its own: this test
/// again, told by `CASE` to build a client from its environment.
#[tokio::test]
async fn the_environment_configures() {
    fn built() -> Result<PostHog, ConfigError> {
        let builder = PostHog::from_env();
        let switch_off = std::env::var_os("SWITCH_OFF").is_some();
        if switch_off { builder.disabled(true).build() } else { builder.build() }
    }
    if std::env::var_os("CASE").is_some() {
        match built() {
            Ok(posthog) => println!("built, disabled={}", posthog.circuit_breaker().is_none()),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    for (variables, says) in [
        (&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_HOST", "eu")][..], "built, disabled=false"),
        (&[("POSTHOG_DISABLED", "1")][..], "built, disabled=true"),
        (&[("POSTHOG_DISABLED", "1"), ("POSTHOG_API_KEY", "")][..], "built, disabled=true"),
        (&[("SWITCH_OFF", "1")][..], "built, disabled=true"),
        (
            &[][..],
            concat!(
                "refused: POSTHOG_API_KEY is not set: set it to the project token (phc_…, in PostHog's project settings), ",
                "or POSTHOG_API_KEY_FILE to a file that holds it, or POSTHOG_DISABLED=1 to send nothing"
            ),
        ),
        (&[("POSTHOG_HOST", "eu")][..], "refused: POSTHOG_API_KEY is not set, but POSTHOG_HOST is"),
        (&[("POSTHOG_API_KEY_FILE", "/nonexistent")][..], "refused: POSTHOG_API_KEY_FILE names a file"),
        (&[("POSTHOG_API_KEY", " ")][..], "refused: POSTHOG_API_KEY is empty"),
        (
            &[("POSTHOG_API_KEY", "phs_secret")][..],
            "refused: POSTHOG_API_KEY is a project secret API key (phs_…)",
        ),
    ] {
        let names = ["API_KEY", "API_KEY_FILE", "HOST", "HOST_FILE", "DISABLED"];
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_environment_configures", "--nocapture"]).env("CASE", "1");
        names.iter().for_each(|name| {
            command.env_remove(format!("POSTHOG_{name}"));
        });
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(output.contains(says), "{variables:?}: {output}");
    }
}
