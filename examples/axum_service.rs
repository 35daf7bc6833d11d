//! A small service as it would use the library: it captures on a route, serves its readiness, and shuts
//! down in order.
//!
//! ```text
//! cargo run --example axum_service            # PORT=8080 by default
//! curl -X POST http://127.0.0.1:8080/orders/42
//! curl http://127.0.0.1:8080/readyz
//! ```
//!
//! With `POSTHOG_API_KEY` it reports to that project, without it to a fake PostHog in this process.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use posthog_health::testing::FakePostHog;
use posthog_health::{ConfigError, Event, PostHog};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let (posthog, _fake) = posthog()?;
    let app = Router::new()
        .route("/orders/{id}", post(place_order))
        .route("/readyz", get(readiness))
        .with_state(posthog.clone());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(asked_to_stop()).await?;

    // Last, when no request can capture any more.
    posthog.shutdown(Duration::from_secs(5)).await;
    println!("ledger: {}", posthog.stats());
    Ok(())
}

fn posthog() -> Result<(PostHog, Option<FakePostHog>), ConfigError> {
    if ["POSTHOG_API_KEY", "POSTHOG_API_KEY_FILE"].iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok((PostHog::from_env().build()?, None));
    }
    let fake = FakePostHog::start();
    Ok((PostHog::builder(FakePostHog::TOKEN).host(fake.url()).build()?, Some(fake)))
}

async fn place_order(State(posthog): State<PostHog>, Path(id): Path<String>) -> StatusCode {
    posthog.capture(Event::new("order placed".to_owned(), format!("customer-of-{id}")));
    StatusCode::CREATED
}

/// Degraded is 200 too: that PostHog is away is no reason to take this service out of rotation.
async fn readiness(State(posthog): State<PostHog>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, posthog.health_check().await.to_json())
}

async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            },
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
