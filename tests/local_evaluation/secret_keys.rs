//! The secret key that fetches them, and its successors.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{AlertName, CredentialSource, FlagSource, Surface};

use super::support::{builder, until};
use super::{HOUR, OFTEN, once_local, options, start_with_key_in};

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
