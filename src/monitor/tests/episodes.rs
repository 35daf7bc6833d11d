//! When an alert resolves, and when it does not.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::runtime;

use super::*;

/// Breaker, limiter and refusal pause suppress the traffic that these alerts count.
#[tokio::test(start_paused = true)]
async fn our_own_protections_do_not_silence_an_alert() {
    for (name, kind, begins) in [
        (ApiDown, Kind::Server, 11),
        (RateLimited, Kind::RateLimited, 6),
        (AuthFailures, Kind::Unauthorized, 1),
        (QuotaExceeded, Kind::QuotaExceeded, 1),
    ] {
        let mut harness = Harness::start(AlertsConfig::default()).await;
        harness.fail(begins, kind);
        assert_eq!(harness.changes().await, [(name, true)]);
        sleep(SECOND * 3600).await;
        assert_eq!(harness.changes().await, [], "an hour without any attempt");
        assert_eq!(harness.firing(), [name]);
        harness.succeed(1);
        let (seconds, resolved, fires) = harness.next().await;
        assert_eq!((resolved, fires), (name, false));
        assert!((299..=301).contains(&seconds), "five minutes after the success: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_and_goes_pages_once() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    let mut changes = Vec::new();
    for _ in 0..30 {
        harness.fail(20, Kind::Server);
        sleep(SECOND * 60).await;
        harness.succeed(20);
        sleep(SECOND * 180).await;
        changes.extend(harness.changes().await);
    }
    assert_eq!(changes, [(ApiDown, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_the_token_refused_is_an_auth_failure() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.token_refused.send_replace(true);
    assert_eq!(harness.changes().await, [(AuthFailures, true)]);
    // The capture endpoint accepts and discards the events of an unknown token: its success proves nothing.
    harness.succeed(1);
    sleep(SECOND * 3600).await;
    assert_eq!(harness.changes().await, []);
    harness.token_refused.send_replace(false);
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (AuthFailures, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

/// A refusal proves that PostHog is up: the breaker closes and the limiter resumes, so the alert may resolve.
#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_ends_an_outage_but_not_a_refused_token() {
    for kind in [Kind::BadRequest, Kind::Unauthorized, Kind::QuotaExceeded] {
        let mut harness = Harness::start(AlertsConfig::default().resolve_after(SECOND)).await;
        harness.fail(20, Kind::Server);
        harness.fail(20, Kind::RateLimited);
        sleep(SECOND * 600).await;
        assert_eq!(harness.firing().len(), 2);
        harness.fail(1, kind);
        sleep(SECOND * 600).await;
        let left = harness.firing();
        assert!(!left.contains(&ApiDown) && !left.contains(&RateLimited), "{left:?}");
        assert_eq!(left.is_empty(), kind == Kind::BadRequest, "{left:?}");
        harness.changes().await;
    }
    // Without a status, TooLarge is a broken connection.
    for kind in [Kind::TooLarge, Kind::WrongHost, Kind::RateLimited] {
        let harness = Harness::start(AlertsConfig::default()).await;
        harness.fail(20, Kind::Server);
        sleep(SECOND).await;
        harness.fail(1, kind);
        sleep(SECOND * 600).await;
        assert!(harness.firing().contains(&ApiDown), "{kind:?} says nothing");
    }
}

/// A proxy may refuse `/batch/` alone.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_well_does_not_end_what_capture_was_refused() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.fail(1, Kind::Forbidden);
    assert_eq!(harness.changes().await, [(AuthFailures, true)]);
    for _ in 0..60 {
        harness.token_refused.send_replace(false);
        sleep(SECOND * 60).await;
    }
    assert_eq!(harness.firing(), [AuthFailures]);
    harness.succeed(1);
    assert_eq!(harness.next().await.1, AuthFailures);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever happens, and however rarely: an alert that fires does not resolve before a success, nor within
    /// five minutes after the last failure.
    #[test]
    fn no_alert_resolves_before_a_success(
        steps in prop::collection::vec((0u64..250, prop::option::weighted(0.8, 0usize..5)), 1..60),
    ) {
            let kinds = [
            (Kind::Server, Some(ApiDown)),
            (Kind::Timeout, Some(ApiDown)),
            (Kind::RateLimited, Some(RateLimited)),
            (Kind::Unauthorized, Some(AuthFailures)),
            (Kind::TooLarge, None),
        ];
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut harness = Harness::start(AlertsConfig::default()).await;
            let mut fires = Vec::new();
            // When a success ended what each alert is about.
            let mut ended = HashMap::new();
            for (wait, step) in steps {
                sleep(SECOND * wait as u32).await;
                for (name, begins) in harness.changes().await {
                    if begins {
                        fires.push(name);
                    } else {
                        fires.retain(|firing| *firing != name);
                        let quiet = ended.get(&name).map_or(0, |at: &Instant| at.elapsed().as_secs());
                        assert!(quiet >= 299, "{name} resolved {quiet} s after the success that ended it");
                    }
                }
                // What ends now, and what goes on.
                let (ends, goes_on): (&[_], _) = match step.map(|kind| kinds[kind]) {
                    None => (&[ApiDown, RateLimited, AuthFailures], None),
                    Some((Kind::Unauthorized, name)) => (&[ApiDown, RateLimited], name),
                    Some((_, name)) => (&[], name),
                };
                match step {
                    None => harness.succeed(1),
                    Some(kind) => harness.fail(3, kinds[kind].0),
                }
                ends.iter().for_each(|name| {
                    ended.entry(*name).or_insert_with(Instant::now);
                });
                goes_on.map(|name| ended.remove(&name));
            }
            let mut firing = harness.firing();
            firing.sort_by_key(|name| *name as u8);
            fires.sort_by_key(|name| *name as u8);
            // The transitions of the last step are still in the channel.
            assert_eq!(firing, fires);
        });
    }
}
