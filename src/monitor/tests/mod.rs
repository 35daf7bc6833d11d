//! The alerts as users see them: the monitor's task on a paused clock.

mod episodes;
mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::*;
use crate::api::{Accepted, PostHogClassifier, Protocols};
use crate::delivery::{DeadLetterLimits, Limits, Overflow, Queue};
use crate::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, Observe, RateLimitConfig, RateLimitLayer, RetryConfig,
    RetryLayer,
};
use crate::{Error, ErrorKind as Kind};
use AlertName::*;
use AlertTransition::{Firing, Resolved};

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(50);

struct Harness {
    monitor: Arc<Monitor>,
    queue: Arc<Queue>,
    breaker: CircuitBreakerLayer<PostHogClassifier>,
    token_refused: watch::Sender<bool>,
    transitions: AlertTransitions,
}

impl Harness {
    async fn start(alerts: AlertsConfig) -> Self {
        let limits = Limits {
            events: 100,
            bytes: 1_000_000,
            event_bytes: 10_000,
            batch_events: 10,
            batch_bytes: 100_000,
            overflow: Overflow::DropNewest,
            dead_letters: DeadLetterLimits { events: 10, bytes: 10_000 },
        };
        let queue = Arc::new(Queue::new(limits, 1, None));
        let open = CircuitBreakerConfig::default().open_time(FAST, FAST);
        let breaker = CircuitBreakerLayer::new(open.clone(), PostHogClassifier).unwrap();
        let closed = CircuitBreakerLayer::new(open, PostHogClassifier).unwrap();
        let sources = Sources {
            queue: Arc::clone(&queue),
            breakers: [breaker.handle(), closed.handle()],
            limiter: RateLimitLayer::new(RateLimitConfig::default(), PostHogClassifier).unwrap().handle(),
            retries: RetryLayer::new(RetryConfig::default(), PostHogClassifier).unwrap().handle(),
            forgiven: Arc::default(),
            verdicts: Arc::default(),
            protocols: Protocols::v0(),
        };
        let monitor = Arc::new(Monitor::new(alerts, RolloutConfig::default(), sources));
        let (token_refused, refused) = watch::channel(false);
        tokio::spawn(Arc::clone(&monitor).run(refused));
        let transitions = monitor.subscribe();
        // From here on, every wait of whole seconds ends between two samples.
        sleep(SECOND / 2).await;
        Self { monitor, queue, breaker, token_refused, transitions }
    }

    fn attempts(&self, times: u32, latency: Duration, result: Result<&Accepted, &Error>) {
        let observer = AttemptObserver::new(Arc::clone(&self.monitor), Surface::Capture);
        (0..times).for_each(|_| observer.attempt(latency, result));
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

    /// Waits for the next sample, and returns what has changed since the last call.
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

    /// Waits until something changes, and returns the seconds that it took and the change.
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
    let harness = Harness::start(AlertsConfig::default()).await;
    harness.succeed(20);
    assert_eq!(harness.monitor.verdict(), RolloutVerdict::Proceed);
    harness.attempts(20, FAST, Ok(&Accepted { over_quota: true }));
    let failing = RolloutReason::ErrorRate { failed: 20, attempts: 40 };
    assert!(harness.monitor.verdict().reasons().contains(&failing));
    sleep(SECOND * 302).await;
    let too_little = RolloutReason::TooLittleTraffic { attempts: 0, needed: 20 };
    assert!(harness.monitor.verdict().reasons().contains(&too_little));
}

#[tokio::test(start_paused = true)]
async fn surfaces_are_kept_apart() {
    let harness = Harness::start(AlertsConfig::default()).await;
    let flags = AttemptObserver::new(Arc::clone(&harness.monitor), Surface::Flags);
    let down = Err::<&Accepted, _>(&Error::new(Kind::Server));
    (0..11).for_each(|_| flags.attempt(FAST, down));
    harness.succeed(1);
    sleep(SECOND * 120).await;
    let alerts = harness.monitor.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].name, alerts[0].surface), (ApiDown, Surface::Flags));
    assert!(harness.monitor.summary().current_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn after_the_end_nothing_fires_and_nothing_is_told() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.fail(1, Kind::Unauthorized);
    assert_eq!(harness.changes().await, [(AuthFailures, true)]);
    harness.monitor.end();
    harness.monitor.end();
    assert_eq!(harness.firing(), []);
    assert_eq!(harness.transitions.next().await, None);
    assert_eq!(harness.monitor.subscribe().next().await, None);
}
