//! What ends an alert, and what does not.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::runtime;

use super::*;

/// Whatever the protections do, they leave next to nothing to count.
#[tokio::test(start_paused = true)]
async fn our_own_protections_do_not_silence_an_alert() {
    for (name, kind, begins) in [
        (ApiDown, Kind::Server, 11),
        (RateLimited, Kind::RateLimited, 6),
        (AuthFailures, Kind::Unauthorized, 1),
        (QuotaExceeded, Kind::QuotaExceeded, 1),
    ] {
        let mut scene = Scene::start(AlertsConfig::default()).await;
        scene.fail(begins, kind);
        assert_eq!(scene.changes().await, [(name, true)]);
        sleep(SECOND * 3600).await;
        assert_eq!(scene.changes().await, [], "an hour without any attempt");
        assert_eq!(scene.firing(), [name]);
        scene.succeed(1);
        let (seconds, resolved, fires) = scene.next().await;
        assert_eq!((resolved, fires), (name, false));
        assert!((299..=301).contains(&seconds), "five minutes after the success: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_and_goes_pages_once() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    let mut changes = Vec::new();
    for _ in 0..30 {
        scene.fail(20, Kind::Server);
        sleep(SECOND * 60).await;
        scene.succeed(20);
        sleep(SECOND * 180).await;
        changes.extend(scene.changes().await);
    }
    assert_eq!(changes, [(ApiDown, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_the_token_refused_is_an_auth_failure() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.token_refused.send_replace(true);
    assert_eq!(scene.changes().await, [(AuthFailures, true)]);
    // Capture takes an unknown token and throws its events away: its success says nothing about the token.
    scene.succeed(1);
    sleep(SECOND * 3600).await;
    assert_eq!(scene.changes().await, []);
    scene.token_refused.send_replace(false);
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (AuthFailures, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

/// Who refuses what we send is there: the breaker closes, the limiter goes on, and so the alert can end.
#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_ends_an_outage_but_not_a_refused_token() {
    for kind in [Kind::BadRequest, Kind::Unauthorized, Kind::QuotaExceeded] {
        let mut scene = Scene::start(AlertsConfig::default().resolve_after(SECOND)).await;
        scene.fail(20, Kind::Server);
        scene.fail(20, Kind::RateLimited);
        sleep(SECOND * 600).await;
        assert_eq!(scene.firing().len(), 2);
        scene.fail(1, kind);
        sleep(SECOND * 600).await;
        let left = scene.firing();
        assert!(!left.contains(&ApiDown) && !left.contains(&RateLimited), "{left:?}");
        assert_eq!(left.is_empty(), kind == Kind::BadRequest, "{left:?}");
        scene.changes().await;
    }
    // Without a status a body that is too large is a connection that broke.
    for kind in [Kind::TooLarge, Kind::WrongHost, Kind::RateLimited] {
        let scene = Scene::start(AlertsConfig::default()).await;
        scene.fail(20, Kind::Server);
        sleep(SECOND).await;
        scene.fail(1, kind);
        sleep(SECOND * 600).await;
        assert!(scene.firing().contains(&ApiDown), "{kind:?} says nothing");
    }
}

/// A proxy may refuse what goes to `/batch/` alone.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_well_does_not_end_what_capture_was_refused() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.fail(1, Kind::Forbidden);
    assert_eq!(scene.changes().await, [(AuthFailures, true)]);
    for _ in 0..60 {
        scene.token_refused.send_replace(false);
        sleep(SECOND * 60).await;
    }
    assert_eq!(scene.firing(), [AuthFailures]);
    scene.succeed(1);
    assert_eq!(scene.next().await.1, AuthFailures);
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
            let mut scene = Scene::start(AlertsConfig::default()).await;
            let mut fires = Vec::new();
            // When a success ended what each alert is about.
            let mut ended = HashMap::new();
            for (wait, step) in steps {
                sleep(SECOND * wait as u32).await;
                for (name, begins) in scene.changes().await {
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
                    None => scene.succeed(1),
                    Some(kind) => scene.fail(3, kinds[kind].0),
                }
                ends.iter().for_each(|name| {
                    ended.entry(*name).or_insert_with(Instant::now);
                });
                goes_on.map(|name| ended.remove(&name));
            }
            let mut firing = scene.firing();
            firing.sort_by_key(|name| *name as u8);
            fires.sort_by_key(|name| *name as u8);
            // What the last step changed is not told yet.
            assert_eq!(firing, fires);
        });
    }
}
