//! Retry, circuit breaker and rate limit around `reqwest::Client`, through an outage.
//!
//! `cargo run --example layers_reqwest`. The API is on this machine. It answers its 11th to 20th request with 503.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, HttpStatus, RateLimitConfig, RateLimitLayer,
    RetryConfig, RetryLayer,
};
use reqwest::{Method, Request};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let requests = Arc::new(AtomicU32::new(0));
    let url = api(Arc::clone(&requests)).await?;

    let status = HttpStatus::default();
    let retry = RetryLayer::new(RetryConfig::default().backoff(MS(20), MS(200)), status)?;
    let breaker = CircuitBreakerConfig::default().name("orders").open_time(MS(100), MS(200));
    let breaker = CircuitBreakerLayer::new(breaker, status)?;
    let limiter = RateLimitLayer::new(RateLimitConfig::default().rate(200).burst(5), status)?;
    let (retries, circuit, limit) = (retry.handle(), breaker.handle(), limiter.handle());
    let mut client = ServiceBuilder::new()
        .layer(retry)
        .layer(breaker)
        .layer(limiter)
        // The breaker and the limiter add errors of their own, so the client's have to be boxed.
        .map_err(BoxError::from)
        .service(reqwest::Client::builder().no_proxy().timeout(MS(2_000)).build()?);

    let (started, mut said) = (Instant::now(), String::new());
    let (mut answered, mut failed) = (0, 0);
    while answered < 30 {
        let result = client.ready().await?.call(Request::new(Method::GET, url.parse()?)).await;
        let says = match &result {
            Ok(response) => response.status().to_string(),
            Err(error) if error.is::<CircuitOpen>() => "rejected: the circuit breaker is open".into(),
            Err(error) => error.to_string(),
        };
        let is_success = result.as_ref().is_ok_and(|response| response.status().is_success());
        answered += u32::from(is_success);
        failed += u32::from(result.is_ok() && !is_success);
        if says != said {
            println!("{:4.2} s  {says}", started.elapsed().as_secs_f64());
            said = says;
        }
        sleep(MS(5)).await;
    }
    println!("retries: {}, calls that waited for a token: {}", retries.count(), limit.waits());
    println!(
        "answered={answered} failed={failed} rejected={} requests={} circuit={:?}",
        circuit.rejected(),
        requests.load(Ordering::Relaxed),
        circuit.state()
    );
    Ok(())
}

async fn api(requests: Arc<AtomicU32>) -> Result<String, BoxError> {
    let answer = move || async move {
        let fails = (10..20).contains(&requests.fetch_add(1, Ordering::Relaxed));
        if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(answer))).await });
    Ok(url)
}
