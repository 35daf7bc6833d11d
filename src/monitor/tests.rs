//! The alerts as they are: the monitor's task on a paused clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use posthog_rs::Event;
use proptest::prelude::*;
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::config::Settings;
use crate::delivery::{Queue, SpoolHealth, SpoolState};
use crate::layers::circuit_breaker::State;
use crate::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Observe, RateLimitLayer, RetryLayer};
use crate::outcome::{Accepted, DeliveryClassifier};
use crate::{Error, ErrorKind as Kind};
use AlertName::*;
use AlertTransition::{Firing, Resolved};

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(50);

struct Scene {
    monitor: Arc<Monitor>,
    queue: Arc<Queue>,
    breaker: CircuitBreakerLayer<DeliveryClassifier>,
    token_refused: watch::Sender<bool>,
    transitions: AlertTransitions,
}

impl Scene {
    async fn start(alerts: AlertsConfig) -> Self {
        let settings = Settings::default();
        let queue = Arc::new(Queue::new(settings.limits, 1, None));
        let open = CircuitBreakerConfig::default().open_time(FAST, FAST);
        let breaker = CircuitBreakerLayer::new(open.clone(), DeliveryClassifier).unwrap();
        let closed = CircuitBreakerLayer::new(open, DeliveryClassifier).unwrap();
        let sources = Sources {
            queue: Arc::clone(&queue),
            breakers: [breaker.handle(), closed.handle()],
            limiter: RateLimitLayer::new(settings.rate_limit, DeliveryClassifier).unwrap().handle(),
            retries: RetryLayer::new(settings.retry, DeliveryClassifier).unwrap().handle(),
        };
        let monitor = Arc::new(Monitor::new(alerts, RolloutConfig::default(), sources));
        let (token_refused, refused) = watch::channel(false);
        tokio::spawn(Arc::clone(&monitor).run(refused));
        let transitions = monitor.subscribe();
        // Between two looks from here on.
        sleep(SECOND / 2).await;
        Self { monitor, queue, breaker, token_refused, transitions }
    }

    fn attempts(&self, times: u32, latency: Duration, result: Result<&Accepted, &Error>) {
        let watch = Watch::new(Arc::clone(&self.monitor), Surface::Capture);
        (0..times).for_each(|_| watch.attempt(latency, result));
    }

    fn fail(&self, times: u32, kind: Kind) {
        self.attempts(times, FAST, Err(&Error::new(kind)));
    }

    fn succeed(&self, times: u32) {
        self.attempts(times, FAST, Ok(&Accepted { over_quota: false }));
    }

    fn firing(&self) -> Vec<AlertName> {
        self.monitor.alerts().iter().map(|alert| alert.name).collect()
    }

    /// What has changed since the last call, a look later.
    async fn changes(&mut self) -> Vec<(AlertName, bool)> {
        sleep(SECOND).await;
        let mut changes = Vec::new();
        while let Some(transition) = self.transitions.try_next() {
            changes.push(match transition {
                Firing(alert) => (alert.name, true),
                Resolved(alert) => (alert.name, false),
            });
        }
        changes
    }

    /// How long it takes until something changes, and what that is.
    async fn next(&mut self) -> (u64, AlertName, bool) {
        let started = Instant::now();
        let transition = self.transitions.next().await.unwrap();
        let seconds = started.elapsed().as_secs();
        sleep(SECOND / 2).await;
        match transition {
            Firing(alert) => (seconds, alert.name, true),
            Resolved(alert) => (seconds, alert.name, false),
        }
    }
}

/// Each alert of the checklist fires within a second above its threshold, not at it, and resolves.
#[tokio::test(start_paused = true)]
async fn each_alert_fires_above_its_threshold_and_not_one_below() {
    let counted = [
        (ApiDown, Kind::Server, 10, Severity::P1),
        (ApiDown, Kind::Timeout, 10, Severity::P1),
        (ApiDown, Kind::Connect, 10, Severity::P1),
        (ApiDown, Kind::WrongHost, 10, Severity::P1),
        (RateLimited, Kind::RateLimited, 5, Severity::P2),
        (AuthFailures, Kind::Unauthorized, 0, Severity::P1),
        (AuthFailures, Kind::Forbidden, 0, Severity::P1),
        (QuotaExceeded, Kind::QuotaExceeded, 0, Severity::P2),
    ];
    for (name, kind, threshold, severity) in counted {
        let mut scene = Scene::start(AlertsConfig::default()).await;
        scene.fail(threshold, kind);
        assert_eq!(scene.changes().await, [], "{name} at {threshold}");
        scene.fail(1, kind);
        assert_eq!(scene.changes().await, [(name, true)], "{name} above {threshold}");
        let alert = scene.monitor.alerts().remove(0);
        assert_eq!((alert.severity, alert.surface), (severity, Surface::Capture));
        scene.succeed(1);
        // A minute until they are out of the count, five more to be sure.
        let (seconds, resolved, fires) = scene.next().await;
        assert_eq!((resolved, fires), (name, false));
        assert!((356..=362).contains(&seconds), "{name} after {seconds} s");
        assert_eq!(scene.firing(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn high_latency_is_the_99th_percentile_above_five_seconds() {
    let slow = Duration::from_millis(5_001);
    let ok = Ok(&Accepted { over_quota: false });
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.attempts(100, Duration::from_secs(5), ok);
    assert_eq!(scene.changes().await, [], "exactly five seconds is not above");
    scene.succeed(197);
    scene.attempts(3, slow, ok);
    assert_eq!(scene.changes().await, [], "one in a hundred is allowed");
    scene.attempts(1, slow, ok);
    assert_eq!(scene.changes().await, [(HighLatency, true)]);
    let detail = scene.monitor.alerts().remove(0).detail;
    assert!(detail.starts_with("slow attempts: 4 of 301 took more than 5s"), "{detail}");
    scene.succeed(1);
    let (seconds, resolved, fires) = scene.next().await;
    assert_eq!((resolved, fires), (HighLatency, false));
    assert!((596..=602).contains(&seconds), "five minutes out of the count, five to be sure: {seconds}");
}

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

/// A server that hangs behind a breaker is tried too rarely to be counted.
#[tokio::test(start_paused = true)]
async fn what_goes_on_for_a_minute_fires_however_rarely_it_is_tried() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.fail(2, Kind::Timeout);
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (ApiDown, true));
    assert!((59..=61).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn one_failure_or_one_slow_request_at_night_does_not_page() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.fail(1, Kind::RateLimited);
    scene.attempts(2, Duration::from_secs(9), Ok(&Accepted { over_quota: false }));
    sleep(SECOND * 3600).await;
    scene.fail(1, Kind::Server);
    sleep(SECOND * 3600).await;
    assert_eq!(scene.changes().await, []);
    scene.fail(1, Kind::Server);
    assert_eq!(
        scene.changes().await,
        [(ApiDown, true)],
        "but twice, without a success in between, is an outage"
    );
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

#[tokio::test(start_paused = true)]
async fn a_verdict_judges_its_window_alone() {
    let scene = Scene::start(AlertsConfig::default()).await;
    scene.succeed(20);
    assert_eq!(scene.monitor.verdict(), RolloutVerdict::Proceed);
    scene.attempts(20, FAST, Ok(&Accepted { over_quota: true }));
    let failing = RolloutReason::ErrorRate { failed: 20, attempts: 40 };
    assert!(scene.monitor.verdict().reasons().contains(&failing));
    sleep(SECOND * 302).await;
    let too_little = RolloutReason::TooLittleTraffic { attempts: 0, needed: 20 };
    assert!(scene.monitor.verdict().reasons().contains(&too_little));
}

#[tokio::test(start_paused = true)]
async fn an_over_quota_answer_is_no_success() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.attempts(1, FAST, Ok(&Accepted { over_quota: true }));
    assert_eq!(scene.changes().await, [(QuotaExceeded, true)]);
    sleep(SECOND * 3600).await;
    assert_eq!(scene.firing(), [QuotaExceeded]);
}

#[tokio::test(start_paused = true)]
async fn any_lost_event_fires_and_one_that_was_not_wanted_does_not() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.queue.capture(Event::new("", "user"));
    assert_eq!(scene.changes().await, [(LosingEvents, true)]);
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (LosingEvents, false));
    assert!((359..=361).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_fires_while_it_is_not_closed() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    let service = scene.breaker.layer(service_fn(|kind: Option<Kind>| async move {
        kind.map_or(Ok(Accepted { over_quota: false }), |kind| Err(Error::new(kind)))
    }));
    for _ in 0..5 {
        assert!(service.clone().oneshot(Some(Kind::Server)).await.is_err());
    }
    assert_eq!(scene.changes().await, [(CircuitOpen, true)]);
    // The breaker's clock is real.
    while service.clone().oneshot(None).await.is_err() {
        tokio::task::yield_now().await;
    }
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (CircuitOpen, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_for_five_minutes_are_stalled() {
    let mut scene = Scene::start(AlertsConfig::default().off(LosingEvents)).await;
    sleep(SECOND * 3600).await;
    assert_eq!(scene.changes().await, [], "nothing waits");
    scene.queue.capture(Event::new("event", "user"));
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (Stalled, true));
    assert!((299..=301).contains(&seconds), "{seconds}");
    scene.queue.abandon();
    let (seconds, name, fires) = scene.next().await;
    assert_eq!((name, fires), (Stalled, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

/// The hour is the time to act in; a spool that does not grow is no news.
#[tokio::test(start_paused = true)]
async fn a_spool_that_will_be_full_within_the_hour_fires() {
    let start = Instant::now();
    let config = AlertsConfig::default();
    let traffic = Surface::ALL.map(|_| traffic::Traffic::new(start, SECOND));
    let reasons = |state, full_in: Option<u64>| {
        let spool = SpoolHealth {
            state,
            issue: None,
            events: 1,
            bytes: 900,
            capacity_bytes: 1_000,
            file_bytes: 2_000,
            full_in: full_in.map(Duration::from_secs),
        };
        let view = rules::View {
            now: start,
            traffic: &traffic,
            breakers: [State::Closed; 2],
            lost: 0,
            spool: Some(spool),
            waiting: 0,
            stalled_for: SECOND,
        };
        rules::conditions(&config, &view).into_iter().map(|reason| reason.name).collect::<Vec<_>>()
    };
    assert_eq!(reasons(SpoolState::Ready, None), []);
    assert_eq!(reasons(SpoolState::Ready, Some(3_600)), []);
    assert_eq!(reasons(SpoolState::Ready, Some(3_599)), [SpoolFilling]);
    assert_eq!(reasons(SpoolState::Full, None), [SpoolFilling]);
}

#[tokio::test(start_paused = true)]
async fn surfaces_are_kept_apart() {
    let scene = Scene::start(AlertsConfig::default()).await;
    let flags = Watch::new(Arc::clone(&scene.monitor), Surface::Flags);
    let down = Err::<&Accepted, _>(&Error::new(Kind::Server));
    (0..11).for_each(|_| flags.attempt(FAST, down));
    scene.succeed(1);
    sleep(SECOND * 120).await;
    let alerts = scene.monitor.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].name, alerts[0].surface), (ApiDown, Surface::Flags));
    assert!(scene.monitor.signs().standing_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_is_off_does_not_fire_and_thresholds_are_kept() {
    let alerts = AlertsConfig::default()
        .off(AuthFailures)
        .api_down(1)
        .severity(ApiDown, Severity::P2)
        .resolve_after(SECOND * 10);
    let mut scene = Scene::start(alerts).await;
    scene.fail(5, Kind::Unauthorized);
    scene.fail(1, Kind::Server);
    assert_eq!(scene.changes().await, []);
    scene.fail(1, Kind::Server);
    assert_eq!(scene.changes().await, [(ApiDown, true)]);
    assert_eq!(scene.monitor.alerts()[0].severity, Severity::P2);
    scene.succeed(1);
    let (seconds, ..) = scene.next().await;
    assert!((66..=72).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn after_the_end_nothing_fires_and_nothing_is_told() {
    let mut scene = Scene::start(AlertsConfig::default()).await;
    scene.fail(1, Kind::Unauthorized);
    assert_eq!(scene.changes().await, [(AuthFailures, true)]);
    scene.monitor.end();
    scene.monitor.end();
    assert_eq!(scene.firing(), []);
    assert_eq!(scene.transitions.next().await, None);
    assert_eq!(scene.monitor.subscribe().next().await, None);
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
