//! The alerts as they are: the monitor's task on a paused clock.

mod episodes;
mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::*;
use crate::api::{Accepted, PostHogClassifier};
use crate::config::Settings;
use crate::delivery::Queue;
use crate::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Observe, RateLimitLayer, RetryLayer};
use crate::{Error, ErrorKind as Kind};
use AlertName::*;
use AlertTransition::{Firing, Resolved};

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(50);

struct Scene {
    monitor: Arc<Monitor>,
    queue: Arc<Queue>,
    breaker: CircuitBreakerLayer<PostHogClassifier>,
    token_refused: watch::Sender<bool>,
    transitions: AlertTransitions,
}

impl Scene {
    async fn start(alerts: AlertsConfig) -> Self {
        let settings = Settings::default();
        let queue = Arc::new(Queue::new(settings.limits, 1, None));
        let open = CircuitBreakerConfig::default().open_time(FAST, FAST);
        let breaker = CircuitBreakerLayer::new(open.clone(), PostHogClassifier).unwrap();
        let closed = CircuitBreakerLayer::new(open, PostHogClassifier).unwrap();
        let sources = Sources {
            queue: Arc::clone(&queue),
            breakers: [breaker.handle(), closed.handle()],
            limiter: RateLimitLayer::new(settings.rate_limit, PostHogClassifier).unwrap().handle(),
            retries: RetryLayer::new(settings.retry, PostHogClassifier).unwrap().handle(),
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
