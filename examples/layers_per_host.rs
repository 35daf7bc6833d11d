//! One circuit breaker and one rate limit for each host that is called. A host that fails stops no calls to the others.
//!
//! `cargo run --example layers_per_host`. Two hosts are on this machine. One of them fails for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use posthog_health::ConfigError;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus, RateLimitConfig, RateLimitLayer,
};
use quick_cache::sync::Cache;
use reqwest::{Method, Request, Response, Url};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

type Stack = BoxCloneSyncService<Request, Response, BoxError>;

/// Calls each host through layers of its own.
struct PerHost {
    client: reqwest::Client,
    /// Bounded: a host that has not been called for long makes room for another. It begins anew with a closed breaker.
    stacks: Cache<String, Stack>,
}

impl PerHost {
    async fn call(&self, request: Request) -> Result<Response, BoxError> {
        let host = request.url().authority().to_owned();
        let stack = self.stacks.get_or_insert_with(&host, || self.stack(&host))?;
        stack.oneshot(request).await
    }

    fn stack(&self, host: &str) -> Result<Stack, ConfigError> {
        let (status, open) = (HttpStatus::default(), Duration::from_millis(100));
        let breaker = CircuitBreakerConfig::default().name(host).open_time(open, open);
        let stack = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(breaker, status)?)
            .layer(RateLimitLayer::new(RateLimitConfig::default(), status)?)
            .map_err(BoxError::from)
            .service(self.client.clone());
        Ok(BoxCloneSyncService::new(stack))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let hosts = [host(0).await?, host(8).await?];
    let client =
        PerHost { client: reqwest::Client::builder().no_proxy().build()?, stacks: Cache::new(1_000) };
    let (mut ok, mut failed, mut rejected) = ([0; 2], [0; 2], [0; 2]);
    while ok[1] < 10 {
        for (n, host) in hosts.iter().enumerate() {
            match client.call(Request::new(Method::GET, host.clone())).await {
                Ok(response) if response.status().is_success() => ok[n] += 1,
                Ok(_) => failed[n] += 1,
                Err(_) => rejected[n] += 1,
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    println!("the healthy host: ok={} failed={} rejected={}", ok[0], failed[0], rejected[0]);
    let others = failed[0] + rejected[0];
    println!("ok={} failed={} rejected={} others_failed={others}", ok[1], failed[1], rejected[1]);
    Ok(())
}

/// Answers so many requests with 503 at first.
async fn host(failures: u32) -> Result<Url, BoxError> {
    let requests = Arc::new(AtomicU32::new(0));
    let answer = move || async move {
        let fails = requests.fetch_add(1, Ordering::Relaxed) < failures;
        if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?).parse()?;
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(answer))).await });
    Ok(url)
}
