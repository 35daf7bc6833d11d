//! All layers in the order of `delivery_stack`, around a client of hyper-util. The API asks for a pause and fails for a while.
//!
//! `cargo run --example layers_hyper`. The API is on this machine. It answers 429 once, and later 503 twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, DeliveryLayers, HttpStatus, Observe, RateLimitConfig,
    RateLimitLayer, RetryConfig, RetryLayer, delivery_stack,
};
use tokio::net::TcpListener;
use tower::{BoxError, ServiceExt};

/// Prints the attempts that a caller does not see.
#[derive(Clone)]
struct Print;

impl<B> Observe<Response<B>, BoxError> for Print {
    fn attempt(&self, latency: Duration, result: Result<&Response<B>, &BoxError>) {
        match result {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => println!("  attempt: {} after {latency:.0?}", response.status()),
            Err(error) => println!("  attempt: {error} after {latency:.0?}"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let url = api().await?;
    let status = HttpStatus::default();
    let layers = DeliveryLayers {
        retry: RetryLayer::new(RetryConfig::default(), status)?,
        circuit_breaker: CircuitBreakerLayer::new(CircuitBreakerConfig::default(), status)?,
        rate_limit: RateLimitLayer::new(RateLimitConfig::default(), status)?,
        observer: Print,
        timeout: Duration::from_secs(5),
    };
    let (retries, limit) = (layers.retry.handle(), layers.rate_limit.handle());
    // `Full` can be cloned, and so a request with such a body can be sent again.
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = delivery_stack::<_, _, BoxError, _, _, _>(layers, client);

    let mut answered = 0;
    for call in 1..=10 {
        let request = Request::get(&url).body(Full::default())?;
        let response = client.clone().oneshot(request).await?;
        println!("call {call}: {}{}", response.status(), if limit.is_paused() { ", paused" } else { "" });
        answered += u32::from(response.status().is_success());
    }
    println!("calls=10 answered={answered} retries={}", retries.count());
    Ok(())
}

async fn api() -> Result<String, BoxError> {
    let requests = Arc::new(AtomicU32::new(0));
    let answer = move || async move {
        match requests.fetch_add(1, Ordering::Relaxed) {
            3 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
            8 | 9 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => StatusCode::OK.into_response(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(answer))).await });
    Ok(url)
}
