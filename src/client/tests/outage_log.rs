//! What an outage of an hour logs. The test moves tokio's clock and the circuit breaker's by hand.

#[path = "../../../tests/support/log.rs"]
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use failsafe::clock::{self, MockClock};
use tokio::runtime;
use tokio::time::sleep;
use tower::service_fn;
use tracing::Level;

use self::log::{Log, install};
use crate::api::{Batch, Protocols, Receipt};
use crate::client::pipeline::pipeline;
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::Queue;
use crate::{Error, ErrorKind};

/// How the n-th request fares. `None`: it has no answer.
type Fault = fn(u32) -> Option<Result<Receipt, Error>>;

const TAKEN: Option<Result<Receipt, Error>> = Some(Ok(Receipt::TAKEN));

fn failed(kind: ErrorKind, status: u16) -> Option<Result<Receipt, Error>> {
    Some(Err(Error::new(kind).with_status(status)))
}

/// A client with all defaults. PostHog is down while the switch is on.
fn start(fault: Fault) -> (Arc<Queue>, Arc<AtomicBool>) {
    let settings = Settings::default();
    let queue = Arc::new(Queue::new(settings.limits.clone(), 1, None));
    let is_down = Arc::new(AtomicBool::new(false));
    let (switch, requests) = (Arc::clone(&is_down), Arc::new(AtomicU32::new(0)));
    let service = service_fn(move |_: Batch| {
        let answer = match switch.load(Ordering::Relaxed) {
            true => fault(requests.fetch_add(1, Ordering::Relaxed)),
            false => TAKEN,
        };
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    let credentials = Opened::open("phc_test".into()).unwrap().credentials;
    let pipeline = pipeline(&queue, &settings, &credentials, &Protocols::v0(), service).unwrap();
    tokio::spawn(pipeline.monitor.run(credentials.refusals()));
    tokio::spawn(pipeline.worker.run());
    (queue, is_down)
}

/// Captures 5 events a second for so long.
async fn live(clock: &mut MockClock, queue: &Queue, seconds: u32) {
    let step = Duration::from_millis(200);
    for _ in 0..seconds * 5 {
        queue.enter("{}".into(), None);
        clock.advance(step);
        sleep(step).await;
    }
}

/// All lines at info and above of an hour in which each request fails, and of twenty minutes after it.
fn lines_of_an_hour(fault: Fault) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(log.clone())
        .finish();
    let _guard = install(subscriber);
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    clock::freeze(|clock| {
        runtime.block_on(async {
            let (queue, is_down) = start(fault);
            queue.enter("{}".into(), None);
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
    let text = log.text();
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
    assert!(loud(&lines) < 20, "{shown:#?}");
}

fn loud(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("WARN") || line.starts_with("ERROR")).count()
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
    assert_logged(|_| failed(ErrorKind::Server, 503), &[&LASTING[..], &BROKEN].concat());
}

#[test]
fn an_hour_without_an_answer_is_twelve() {
    let slow = ["WARN alert firing: P2 High Latency", "WARN alert resolved: P2 High Latency"];
    assert_logged(|_| None, &[&LASTING[..], &BROKEN, &slow].concat());
}

#[test]
fn an_hour_of_429_is_seven() {
    let throttled = [
        "INFO asked to slow down: pausing",
        "WARN alert firing: P2 Rate Limited",
        "WARN alert resolved: P2 Rate Limited",
    ];
    assert_logged(|_| failed(ErrorKind::RateLimited, 429), &[&LASTING[..], &throttled].concat());
}

#[test]
fn an_hour_of_401_is_eight() {
    let refused = [
        "WARN delivery to PostHog pauses, events are kept: the token is not accepted (HTTP 401)",
        "INFO delivery resumed",
        "ERROR alert firing: P1 Auth Failures",
        "WARN alert resolved: P1 Auth Failures",
    ];
    assert_logged(|_| failed(ErrorKind::Unauthorized, 401), &[&LASTING[..], &refused].concat());
}

/// A PostHog that fails now and then, or with one error after the other, does not fill the log either.
#[test]
fn an_hour_of_a_posthog_that_comes_and_goes_is_fewer_than_twenty() {
    let faults: [(&str, Fault); 5] = [
        ("half fails", |_| if fastrand::bool() { failed(ErrorKind::Server, 503) } else { TAKEN }),
        ("a third is refused", |n| if n % 3 == 0 { failed(ErrorKind::Unauthorized, 401) } else { TAKEN }),
        ("a third is rejected", |_| match fastrand::u8(0..3) {
            0 => failed(ErrorKind::BadRequest, 400),
            _ => TAKEN,
        }),
        ("rejects and fails by turns", |n| match n % 2 {
            0 => failed(ErrorKind::Server, 503),
            _ => failed(ErrorKind::BadRequest, 400),
        }),
        ("all in turn", |n| match n % 6 {
            0 => failed(ErrorKind::Server, 503),
            1 => failed(ErrorKind::Unauthorized, 401),
            2 => failed(ErrorKind::RateLimited, 429),
            3 => failed(ErrorKind::WrongHost, 404),
            4 => Some(Err(Error::new(ErrorKind::Connect))),
            _ => None,
        }),
    ];
    for (name, fault) in faults {
        let lines = lines_of_an_hour(fault);
        let loud = loud(&lines);
        assert!((1..20).contains(&loud), "{name}: {loud} of {:#?}", &lines[..lines.len().min(40)]);
    }
}
