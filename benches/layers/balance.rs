//! One endpoint of three is dead, under p2c by the number of pending requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Verdict, WaitIn};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::TIME;
use super::support::{cells, print_columns};

const ENDPOINTS: u32 = 3;
const CALLERS: u32 = 20;
const OPEN: Duration = Duration::from_secs(1);

type Endpoint = BoxCloneService<(), (), BoxError>;

pub(crate) async fn print() {
    println!(
        "{CALLERS} callers of {ENDPOINTS} endpoints under Balance, one of them dead. Breakers are open for {OPEN:?}.\n"
    );
    let mut lines = vec![cells!["an open breaker", "calls", "failed", "reached the dead one"]];
    for (name, found) in [
        ("ours rejects", run(|endpoint| ours(endpoint, None)).await),
        ("ours is not ready", run(|endpoint| ours(endpoint, Some(WaitIn::PollReady))).await),
        ("tower-resilience rejects", run(|endpoint| theirs(endpoint, false)).await),
        ("tower-resilience is not ready", run(|endpoint| theirs(endpoint, true)).await),
    ] {
        let failed = 100.0 * f64::from(found.failed) / f64::from(found.calls);
        lines.push(cells![name, found.calls, format!("{failed:.2} %"), found.reached_dead]);
    }
    print_columns(&lines);
}

fn ours(endpoint: Endpoint, wait_when_open: Option<WaitIn>) -> Endpoint {
    let config = CircuitBreakerConfig::default().open_time(OPEN, OPEN);
    let classify = |result: Result<&(), &BoxError>| match result {
        Ok(()) => Verdict::Success,
        Err(_) => Verdict::Failed { retry_after: None },
    };
    let layer = CircuitBreakerLayer::new(config, classify).expect("valid");
    let layer = match wait_when_open {
        Some(wait_in) => layer.wait_when_open(wait_in),
        None => layer,
    };
    BoxCloneService::new(layer.layer(endpoint))
}

fn theirs(endpoint: Endpoint, backpressure: bool) -> Endpoint {
    let layer = tower_resilience::circuitbreaker::CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(10)
        .minimum_number_of_calls(5)
        .wait_duration_in_open(OPEN)
        .permitted_calls_in_half_open(1);
    let layer = if backpressure { layer.backpressure() } else { layer };
    let service = layer.build().expect("valid").layer(endpoint);
    BoxCloneService::new(service.map_err(BoxError::from))
}

#[derive(Default)]
struct Found {
    calls: u32,
    failed: u32,
    reached_dead: u32,
}

async fn run(breaker: impl Fn(Endpoint) -> Endpoint) -> Found {
    let reached_dead = Arc::new(AtomicU32::new(0));
    let endpoint = |n| {
        let reached_dead = Arc::clone(&reached_dead);
        let service = service_fn(move |()| {
            let is_dead = n == 0;
            reached_dead.fetch_add(u32::from(is_dead), Ordering::Relaxed);
            async move {
                if is_dead {
                    return Err("connection refused".into());
                }
                sleep(Duration::from_millis(5)).await;
                Ok::<_, BoxError>(())
            }
        });
        PendingRequests::new(breaker(BoxCloneService::new(service)), CompleteOnResponse::default())
    };
    let endpoints: Vec<_> = (0..ENDPOINTS).map(endpoint).collect();
    let balance = Buffer::new(Balance::new(ServiceList::new(endpoints)), CALLERS as usize);
    let ends = Instant::now() + TIME;
    let callers: JoinSet<_> = (0..CALLERS)
        .map(|_| {
            let mut balance = balance.clone();
            async move {
                let mut found = Found::default();
                while Instant::now() < ends {
                    let called = balance.ready().await.expect("ready").call(()).await;
                    found.calls += 1;
                    found.failed += u32::from(called.is_err());
                }
                found
            }
        })
        .collect();
    let found = callers.join_all().await.into_iter().fold(Found::default(), |sum, found| Found {
        calls: sum.calls + found.calls,
        failed: sum.failed + found.failed,
        reached_dead: 0,
    });
    Found { reached_dead: reached_dead.load(Ordering::Relaxed), ..found }
}
