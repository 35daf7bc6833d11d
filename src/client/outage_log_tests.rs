//! What an outage of an hour logs, in simulated time: the real queue, worker, layers and monitor over a service
//! that fails. tokio's clock and the circuit breaker's are both moved by hand.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failsafe::clock::{self, MockClock};
use posthog_rs::Event;
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::service_fn;
use tracing::Level;

use crate::config::Settings;
use crate::delivery::{Encoder, Queue, Worker};
use crate::layers::{CircuitBreakerLayer, DeliveryLayers, RateLimitLayer, RetryLayer, delivery_stack};
use crate::monitor::{Monitor, Sources, Surface, Watch};
use crate::outcome::{Accepted, DeliveryClassifier};
use crate::transport::Batch;
use crate::{Error, ErrorKind};

/// How a request fails. `None`: it has no answer.
type Fault = fn() -> Option<Error>;

/// A client with all defaults, put together as `Running` does it. PostHog is down while the switch is on.
fn start(fault: Fault) -> (Arc<Queue>, Arc<AtomicBool>) {
    let settings = Settings::default();
    let queue = Arc::new(Queue::new(settings.limits, 1, None));
    let circuit_breaker = CircuitBreakerLayer::new(settings.circuit_breaker, DeliveryClassifier).unwrap();
    let watches_breaker = circuit_breaker.handle().subscribe();
    let setback = settings.retry.setback();
    let retry = RetryLayer::new(settings.retry, DeliveryClassifier).unwrap();
    let rate_limit = RateLimitLayer::new(settings.rate_limit, DeliveryClassifier).unwrap();
    let sources = Sources {
        queue: Arc::clone(&queue),
        breaker: circuit_breaker.handle(),
        limiter: rate_limit.handle(),
        retries: retry.handle(),
    };
    let monitor = Arc::new(Monitor::new(settings.alerts, settings.rollout, sources));
    let layers = DeliveryLayers {
        retry,
        circuit_breaker,
        rate_limit,
        observer: Watch::new(Arc::clone(&monitor), Surface::Capture),
        timeout: settings.request_timeout,
    };
    let is_down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_down);
    let service = service_fn(move |_: Batch| {
        let is_down = switch.load(Ordering::Relaxed);
        async move {
            if !is_down {
                return Ok(Accepted { over_quota: false });
            }
            match fault() {
                Some(error) => Err(error),
                None => std::future::pending().await,
            }
        }
    });
    let (_, token_refused) = watch::channel(false);
    let stack = delivery_stack(layers, service);
    tokio::spawn(monitor.run(token_refused.clone()));
    let worker =
        Worker::new(Arc::clone(&queue), stack, settings.pacing, setback, token_refused, watches_breaker);
    tokio::spawn(worker.run(|| Encoder::new(Vec::new(), true, true)));
    (queue, is_down)
}

/// Captures 5 events a second for so long.
async fn live(clock: &mut MockClock, queue: &Queue, seconds: u32) {
    let step = Duration::from_millis(200);
    for _ in 0..seconds * 5 {
        queue.capture(Event::new("page viewed", "user-1"));
        clock.advance(step);
        sleep(step).await;
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All lines at info and above of an hour in which each request fails, and of twenty minutes after it.
fn lines_of_an_hour(fault: Fault) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    clock::freeze(|clock| {
        runtime.block_on(async {
            let (queue, is_down) = start(fault);
            queue.capture(Event::new("page viewed", "user-1"));
            queue.flush();
            // The worker starts in real time: it asks a thread for the system's name.
            while queue.ledger().delivered == 0 {
                tokio::task::yield_now().await;
            }
            live(clock, &queue, 60).await;
            is_down.store(true, Ordering::Relaxed);
            live(clock, &queue, 3600).await;
            is_down.store(false, Ordering::Relaxed);
            live(clock, &queue, 1200).await;
            assert!(queue.ledger().queued < 100, "it has recovered");
        });
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim_start().to_owned()).collect()
}

/// Each of these lines comes once, none other comes, and those at warn and error are fewer than twenty.
fn assert_logged(fault: Fault, expected: &[&str]) {
    let lines = lines_of_an_hour(fault);
    let shown = &lines[..lines.len().min(40)];
    for begins in expected {
        let count = lines.iter().filter(|line| line.starts_with(begins)).count();
        assert_eq!(count, 1, "{begins}: {shown:#?}");
    }
    assert_eq!(lines.len(), expected.len(), "{shown:#?}");
    let loud = lines.iter().filter(|line| line.starts_with("WARN") || line.starts_with("ERROR")).count();
    assert!(loud < 20, "{shown:#?}");
}

/// What every outage comes to that lasts longer than the queue can hold its events.
const LASTING: [&str; 5] = [
    "WARN queue full: dropping events",
    "ERROR alert firing: P1 Stalled",
    "WARN alert firing: P2 Losing Events",
    "WARN alert resolved: P1 Stalled",
    "WARN alert resolved: P2 Losing Events",
];

const BROKEN: [&str; 6] = [
    "WARN circuit breaker open",
    "INFO circuit breaker closed",
    "ERROR alert firing: P1 API Down",
    "WARN alert firing: P2 Circuit Open",
    "WARN alert resolved: P1 API Down",
    "WARN alert resolved: P2 Circuit Open",
];

#[test]
fn an_hour_of_503_is_ten_lines_at_warn_and_error() {
    assert_logged(|| Some(Error::new(ErrorKind::Server).with_status(503)), &[&LASTING[..], &BROKEN].concat());
}

#[test]
fn an_hour_without_an_answer_is_twelve() {
    let slow = ["WARN alert firing: P2 High Latency", "WARN alert resolved: P2 High Latency"];
    assert_logged(|| None, &[&LASTING[..], &BROKEN, &slow].concat());
}

#[test]
fn an_hour_of_429_is_seven() {
    let throttled = [
        "INFO asked to slow down: pausing",
        "WARN alert firing: P2 Rate Limited",
        "WARN alert resolved: P2 Rate Limited",
    ];
    assert_logged(
        || Some(Error::new(ErrorKind::RateLimited).with_status(429)),
        &[&LASTING[..], &throttled].concat(),
    );
}

#[test]
fn an_hour_of_401_is_eight() {
    let refused = [
        "WARN PostHog does not accept the project token (HTTP 401): delivery pauses, events are kept",
        "INFO delivery resumed",
        "ERROR alert firing: P1 Auth Failures",
        "WARN alert resolved: P1 Auth Failures",
    ];
    assert_logged(
        || Some(Error::new(ErrorKind::Unauthorized).with_status(401)),
        &[&LASTING[..], &refused].concat(),
    );
}
