//! What a readiness call costs the service and PostHog, and what the monitor costs a process that does nothing.
//!
//! `cargo bench --bench health`

mod support;

use std::time::{Duration, Instant};

use http::Request;
use posthog_health::routes::HealthRoute;
use posthog_health::testing::{FakePostHog, Route};
use support::times::{Times, cpu_time};
use support::{Arguments, cells, nanos, ours, print_columns, print_machine, server};
use tokio::task::JoinSet;
use tower::ServiceExt;

const CALLS: usize = 20_000;
const PARALLEL: usize = 1_000;
const IDLE_CLIENTS: usize = 500;
const IDLE: Duration = Duration::from_secs(10);

async fn ask(route: &HealthRoute) {
    let answer = route.clone().oneshot(Request::new(())).await;
    assert!(answer.is_ok_and(|answer| answer.status() == 200));
}

/// What a service would write without us: ask PostHog each time.
async fn ask_posthog(client: &reqwest::Client, url: &str) {
    let body = serde_json::json!({ "api_key": FakePostHog::TOKEN, "disable_flags": true });
    let answer = client.post(url).body(body.to_string()).send().await;
    assert!(answer.is_ok_and(|answer| answer.status() == 200));
}

fn line(name: &str, times: &Times, requests: usize) -> Vec<String> {
    let percentile = |share| nanos(times.percentile(share) as f64);
    cells![name, nanos(times.mean()), percentile(0.5), percentile(0.99), requests]
}

async fn time<F: Future>(calls: usize, mut call: impl FnMut() -> F) -> Times {
    let mut times = Times::default();
    for _ in 0..calls {
        let started = Instant::now();
        call().await;
        times.add(started.elapsed());
    }
    times
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if Arguments::read().is_none() {
        return Ok(());
    }
    let server = server();
    let posthog = ours(&server).probe_cache(Duration::from_secs(3600)).build()?;
    let (ready, alive) = (HealthRoute::readiness(&posthog), HealthRoute::liveness(&posthog));
    let rollout = HealthRoute::rollout(&posthog);
    let mut table = vec![cells!["one after the other", "mean", "p50", "p99", "requests to PostHog"]];
    ask(&ready).await;
    let calls = time(CALLS, || ask(&ready)).await;
    table.push(line("readiness", &calls, server.request_count(Route::Flags)));
    table.push(line("liveness", &time(CALLS, || ask(&alive)).await, 0));
    table.push(line("rollout", &time(CALLS, || ask(&rollout)).await, 0));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/flags/?v=2&config=false", server.url());
    let before = server.request_count(Route::Flags);
    let naive = time(CALLS / 10, || ask_posthog(&client, &url)).await;
    table.push(line("asking PostHog each time", &naive, server.request_count(Route::Flags) - before));
    print_columns(&table);
    println!("readiness / asking each time: {:.3}\n", calls.mean() / naive.mean());

    let fresh = support::server();
    let posthog = ours(&fresh).build()?;
    let route = HealthRoute::readiness(&posthog);
    let mut asking = JoinSet::new();
    let started = Instant::now();
    for _ in 0..PARALLEL {
        let route = route.clone();
        asking.spawn(async move { ask(&route).await });
    }
    asking.join_all().await;
    let (took, requests) = (started.elapsed(), fresh.request_count(Route::Flags));
    let each = nanos(took.as_nanos() as f64 / PARALLEL as f64);
    println!(
        "{PARALLEL} in parallel, nothing cached: {took:.1?} all together, {each} each, requests to PostHog: {requests}\n"
    );

    let clients: Vec<_> = (0..IDLE_CLIENTS).map(|_| ours(&fresh).build()).collect::<Result<_, _>>()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu_time();
    tokio::time::sleep(IDLE).await;
    let cpu = cpu_time().saturating_sub(before).as_nanos() as f64;
    let looks = clients.len() as f64 * IDLE.as_secs_f64();
    println!("an idle client costs {} of CPU a second", nanos(cpu / looks));
    print_machine(&server);
    Ok(())
}
