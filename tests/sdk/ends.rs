//! `flush`, `shutdown` and drop cover the SDK, and it bounds none of them.

use std::io;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DropReason, Event};

use crate::assert_only_ours_captured;
use crate::support::{MS, assert_balanced, builder, event, flush_lossy, until};

#[tokio::test]
async fn flush_and_shutdown_wait_for_what_the_sdk_still_has() {
    let server = FakePostHog::start();
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    (0..500).for_each(|n| sdk.capture(event(n)));
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 500);
    (500..1_000).for_each(|n| sdk.capture(event(n)));
    let report = posthog.shutdown(Duration::from_secs(60)).await;
    assert_eq!((report.delivered, report.undelivered, report.dropped), (500, 0, 0));
    assert_eq!(server.distinct(), 1_000);
    assert_balanced(posthog.stats());
    assert_only_ours_captured(&server);

    assert!(posthog.sdk().await.is_none() && posthog.sdk_options().is_none());
    posthog.capture_exception(&io::Error::other("too late"));
    assert_eq!(posthog.stats().dropped.count(DropReason::AfterShutdown), 1);
    flush_lossy(&posthog).await;
    assert_eq!(posthog.shutdown(MS(1)).await.delivered, 0);
}

/// Everything hangs: PostHog, and a hook of the user's, which holds up whoever captures. That is the SDK's thread here,
/// and neither flush nor shutdown waits for it beyond its time. What it had is counted when it comes.
#[test]
fn neither_a_hanging_posthog_nor_a_blocked_hook_holds_up_shutdown() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (tells_blocked, mut blocked) = tokio::sync::mpsc::unbounded_channel();
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (of_the_client, main) = (runtime(), runtime());
    let configured = builder(&server).flush_timeout(MS(50)).before_send(move |event| {
        let _ = tells_blocked.send(());
        let _ = released.lock().unwrap().recv();
        Some(event)
    });
    let posthog = of_the_client.block_on(async { configured.build().unwrap() });
    main.block_on(async {
        let sdk = posthog.sdk().await.unwrap();
        let flags = tokio::spawn({
            let sdk = sdk.clone();
            async move { sdk.evaluate_flags("user-1", Default::default()).await.is_err() }
        });
        server.wait_for_requests(Route::Flags, 1).await;
        (0..200).for_each(|n| sdk.capture(event(n)));
        blocked.recv().await.unwrap();
        posthog.flush().await.unwrap_err();
        flags.abort();

        let shutdown = posthog.shutdown(Duration::from_secs(1));
        let report = tokio::time::timeout(Duration::from_secs(60), shutdown).await.unwrap();
        assert_eq!((report.delivered, report.undelivered), (0, 0));
        drop(release);
        while posthog.stats().dropped.count(DropReason::AfterShutdown) < 200 {
            tokio::task::yield_now().await;
        }
        assert_balanced(posthog.stats());
    });
}

/// What somebody keeps of it is closed, and says nothing: `sdk()` warns of that.
#[tokio::test]
async fn a_handle_kept_beyond_shutdown_is_closed() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let kept = posthog.sdk().await.unwrap();
    posthog.shutdown(Duration::from_secs(60)).await;
    kept.capture(Event::new("too late", "user-1"));
    kept.flush().await;
    kept.shutdown().await;
    assert_eq!(posthog.stats().captured, 0, "the SDK has dropped it");
    drop(kept);
    assert_eq!(server.requests().len(), 0);
}

/// Given up while the SDK is drained, it leaves the client as closed as later.
#[tokio::test]
async fn a_shutdown_that_is_given_up_at_once_leaves_the_client_closed() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    (0..1_000).for_each(|n| sdk.capture(event(n)));
    let mut shutdown = Box::pin(posthog.shutdown(Duration::from_secs(60)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let is_over = shutdown.as_mut().poll(&mut context).is_ready();
    drop(shutdown);
    assert!(!is_over);
    let before = posthog.stats().dropped.count(DropReason::AfterShutdown);
    posthog.capture(Event::new("too late", "user-1"));
    assert!(posthog.stats().dropped.count(DropReason::AfterShutdown) > before);
    let report = posthog.shutdown(Duration::from_secs(60)).await;
    assert_eq!(report.undelivered, 0);
    let ledger = posthog.stats();
    assert_eq!(ledger.captured, 1_001, "what the SDK had is counted, delivered or not");
    assert_balanced(ledger);
}

/// Dropping the last handle neither waits for the SDK nor leaves anything of it.
#[tokio::test]
async fn drop_waits_for_nothing_and_ends_the_sdk() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    (0..1_000).for_each(|n| sdk.capture(event(n)));
    drop(sdk);
    drop(posthog);
    tokio::time::timeout(Duration::from_secs(60), server.wait_for_connections_closed()).await.unwrap();
}

#[test]
fn the_sdk_ends_after_its_runtime_has() {
    let server = FakePostHog::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let posthog = runtime.block_on(async { builder(&server).build().unwrap() });
    drop(runtime.block_on(posthog.sdk()).unwrap());
    drop(runtime);
    let other = tokio::runtime::Runtime::new().unwrap();
    posthog.capture_exception(&io::Error::other("nobody delivers it"));
    assert_eq!(other.block_on(posthog.shutdown(Duration::from_secs(60))).undelivered, 1);
}

#[tokio::test]
async fn its_futures_go_to_any_task() {
    fn send<T: Send>(_: T) {}
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    send(posthog.sdk());
    send(posthog.flush());
    send(posthog.shutdown(MS(1)));
    until(|| server.requests().is_empty()).await;
}
