//! A circuit breaker and a rate limit before the handlers of an axum router.
//!
//! `cargo run --example layers_axum`. The handlers' database is gone for their 21st to 30th request.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, HttpStatus, RateLimitConfig, RateLimitExceeded,
    RateLimitLayer,
};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::{BoxError, ServiceBuilder};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let status = HttpStatus::default();
    let breaker = CircuitBreakerConfig::default().name("orders").open_time(MS(100), MS(200));
    let breaker = CircuitBreakerLayer::new(breaker, status)?;
    // A server rejects what it cannot serve soon: its callers wait, and hold connections meanwhile.
    let limiter = RateLimitConfig::default().rate(100).burst(10).longest_wait(MS(0));
    let limiter = RateLimitLayer::new(limiter, status)?;
    let (circuit, limit) = (breaker.handle(), limiter.handle());

    let calls = Arc::new(AtomicU32::new(0));
    let handled = Arc::clone(&calls);
    let orders = move || async move {
        let fails = (20..30).contains(&handled.fetch_add(1, Ordering::Relaxed));
        if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    let app = Router::new().route("/orders", get(orders)).layer(
        ServiceBuilder::new()
            // axum wants an answer for each error.
            .layer(HandleErrorLayer::new(rejected))
            .layer(breaker)
            .layer(limiter)
            // Handlers have no errors, and the layers' errors need a type to be converted to.
            .map_err(|error: Infallible| -> BoxError { match error {} }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut seen = HashSet::new();
    // Faster than the limit at first, then through the outage, until all is well.
    while calls.load(Ordering::Relaxed) < 40 {
        let response = client.get(&url).send().await?;
        if seen.insert(response.status()) {
            println!("{}, Retry-After: {:?}", response.status(), response.headers().get(header::RETRY_AFTER));
        }
        sleep(if limit.rejected() > 0 { MS(15) } else { MS(0) }).await;
    }
    println!(
        "handled=40 rejected={} limited={} circuit={:?}",
        circuit.rejected(),
        limit.rejected(),
        circuit.state()
    );
    Ok(())
}

async fn rejected(error: BoxError) -> Response {
    let exceeded =
        error.downcast_ref().map(|it: &RateLimitExceeded| (StatusCode::TOO_MANY_REQUESTS, it.retry_in));
    let open = error.downcast_ref().and_then(|it: &CircuitOpen| it.retry_in);
    let (status, retry_in) = exceeded.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, open.unwrap_or_default()));
    let seconds = (retry_in.as_secs() + 1).to_string();
    (status, [(header::RETRY_AFTER, seconds)]).into_response()
}
