//! A token that the user's own code fetches, which may fail, hang and panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Route};
use posthog_health::{AlertName, CredentialSource, CredentialsError, DropReason, Reason};
use tokio::sync::Semaphore;

use crate::support::{MS, builder, capture, until};
use crate::{NEW, OLD, log, token_of_batch};

/// What was panicked with may panic, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Fails, panics and gives something else, before it works: events wait meanwhile.
#[tokio::test]
async fn events_wait_until_a_provider_has_given_a_token() {
    let server = FakePostHog::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let works = Arc::new(Semaphore::new(0));
    let (counter, gate) = (Arc::clone(&calls), Arc::clone(&works));
    let source = CredentialSource::provider(move || {
        let (call, gate) = (counter.fetch_add(1, Ordering::SeqCst), Arc::clone(&gate));
        async move {
            match call {
                0 => Err("no vault"),
                1 => std::panic::panic_any(Bomb),
                2 => Ok("phx_secretsecret".to_owned()),
                _ if gate.available_permits() == 0 => Err("no vault"),
                _ => Ok(OLD.to_owned()),
            }
        }
    });
    let posthog = builder(&server).credentials(source).build().unwrap();
    capture(&posthog, 1_000);
    until(|| calls.load(Ordering::SeqCst) > 4).await;
    assert_eq!(posthog.health().reasons, [Reason::Unauthorized]);
    assert_eq!(posthog.health_check().await.reasons, [Reason::Unauthorized]);
    until(|| posthog.alerts().iter().any(|alert| alert.name == AlertName::AuthFailures)).await;
    assert_eq!((posthog.stats().queued, posthog.health().last_error), (1_000, None), "nothing was attempted");
    assert_eq!((server.request_count(Route::Batch), server.request_count(Route::Flags)), (0, 0));

    works.add_permits(1);
    posthog.flush().await.unwrap();
    assert_eq!((server.distinct(), token_of_batch(&server, 0).as_str()), (1_000, OLD));
    assert_eq!(posthog.health_check().await.reasons, []);
}

#[tokio::test]
async fn a_refused_token_makes_a_provider_give_another() {
    let server = FakePostHog::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let source = CredentialSource::provider(move || {
        let token = if counter.fetch_add(1, Ordering::SeqCst) < 3 { OLD } else { NEW };
        async move { Ok::<_, std::io::Error>(token.to_owned()) }
    });
    server.know_token(NEW);
    server.revoke_token(OLD);
    let posthog = builder(&server).credentials(source).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 10);
    let asked = calls.load(Ordering::SeqCst);
    posthog.flush().await.unwrap();
    assert_eq!(asked, 4, "no more than needed");
}

#[tokio::test]
async fn many_reloads_at_once_are_one_call() {
    let server = FakePostHog::start();
    let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1)));
    let (counter, waits) = (Arc::clone(&calls), Arc::clone(&gate));
    let source = CredentialSource::provider(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await?.forget();
            Ok::<_, tokio::sync::AcquireError>(OLD.to_owned())
        }
    });
    let posthog = builder(&server).credentials(source).build().unwrap();
    until(|| calls.load(Ordering::SeqCst) == 1 && posthog.health().reasons.is_empty()).await;
    let reload = || {
        tokio::spawn({
            let posthog = posthog.clone();
            async move { posthog.reload_credentials().await }
        })
    };
    let first = reload();
    until(|| calls.load(Ordering::SeqCst) == 2).await;
    // Those that come now want what is there now, not what the call under way has seen: one more for all.
    let others: Vec<_> = (0..100).map(|_| reload()).collect();
    tokio::task::yield_now().await;
    gate.add_permits(10);
    for reload in others.into_iter().chain([first]) {
        assert!(!reload.await.unwrap().unwrap());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_provider_that_fails_says_why_to_whoever_asks_and_to_nobody_else() {
    let server = FakePostHog::start();
    let source = CredentialSource::provider(|| async { Err::<String, _>(format!("bad answer: {NEW}")) });
    let posthog = builder(&server).credentials(source).build().unwrap();
    let error = posthog.reload_credentials().await.unwrap_err();
    assert!(matches!(error, CredentialsError::Provider(_)));
    assert!(!format!("{error} {error:?}").contains(NEW), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains(NEW));
}

/// Nobody's vault holds up the end of a service, and nothing of a renewal outlives it.
#[test]
fn a_shutdown_does_not_wait_for_a_renewal() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = FakePostHog::start();
        let (calls, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let (counter, holds) = (Arc::clone(&calls), Arc::clone(&held));
        let source = CredentialSource::provider(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let holds = Arc::clone(&holds);
            async move {
                std::future::pending::<()>().await;
                drop(holds);
                Ok::<_, std::io::Error>(OLD.to_owned())
            }
        });
        let posthog = builder(&server).credentials(source).build().unwrap();
        capture(&posthog, 100);
        until(|| calls.load(Ordering::SeqCst) == 1).await;
        let waits = tokio::spawn({
            let posthog = posthog.clone();
            async move { posthog.reload_credentials().await }
        });
        let report = tokio::time::timeout(Duration::from_secs(60), posthog.shutdown(MS(50))).await.unwrap();
        assert_eq!((report.delivered, report.undelivered), (0, 100));
        assert_eq!(posthog.stats().dropped.count(DropReason::Shutdown), 100);
        assert!(matches!(waits.await.unwrap(), Err(CredentialsError::Ended)));
        until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
        assert_eq!(Arc::strong_count(&held), 1, "the source is gone with the client's task");
    });
}

/// What waits for a token outlives the process like what waits for PostHog, and `shutdown` is not longer for it.
#[cfg(feature = "spool")]
#[tokio::test]
async fn what_waits_for_a_token_goes_to_the_spool() {
    use posthog_health::{SpoolConfig, SpoolState};

    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let start =
        |source| builder(&server).credentials(source).spool(SpoolConfig::at(disk.path())).build().unwrap();
    let posthog = start(CredentialSource::provider(|| async { Err::<String, _>("no vault") }));
    until(|| posthog.health().spool.unwrap().state == SpoolState::Ready).await;
    capture(&posthog, 100);
    let long = Duration::from_secs(3600);
    let report = tokio::time::timeout(Duration::from_secs(60), posthog.shutdown(long)).await.unwrap();
    assert_eq!((report.spooled, report.undelivered), (100, 0));
    let posthog = start(CredentialSource::provider(|| async { Ok::<_, std::io::Error>(OLD.to_owned()) }));
    server.wait_for_distinct(100).await;
    posthog.shutdown(Duration::from_secs(10)).await;
}

/// A subscriber is foreign code. One that panics costs its line.
#[tokio::test]
async fn a_failure_whose_log_line_panics_does_not_end_the_renewal() {
    fn panicking() -> std::io::Sink {
        panic!("a subscriber's bug")
    }
    let server = FakePostHog::start();
    let _subscriber = log::install(tracing_subscriber::fmt().with_writer(panicking).finish());
    let calls = AtomicUsize::new(0);
    let source = CredentialSource::provider(move || {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move { if call == 0 { Err("no vault") } else { Ok(OLD.to_owned()) } }
    });
    let posthog = builder(&server).credentials(source).build().unwrap();
    capture(&posthog, 3);
    server.wait_for_distinct(3).await;
}
