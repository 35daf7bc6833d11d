//! A service as it would use the library: it captures on a route, serves its health to orchestrators, its metrics to
//! Prometheus, and shuts down in order.
//!
//! ```text
//! cargo run --example axum_service            # PORT=8080 by default
//! curl -X POST http://127.0.0.1:8080/orders/42
//! curl http://127.0.0.1:8080/readyz           # 200, degraded or not
//! curl -i http://127.0.0.1:8080/readyz/strict # 503 when degraded
//! curl http://127.0.0.1:8080/livez            # looks only at this process
//! curl http://127.0.0.1:8080/rollout          # proceed, hold or rollback
//! curl http://127.0.0.1:8080/metrics
//! ```
//!
//! With `POSTHOG_API_KEY` it reports to that project. Without it to a fake PostHog in this process, which can be told
//! to fail, and everything is quick so that one can watch it:
//!
//! ```text
//! curl -X POST http://127.0.0.1:8080/fake/outage
//! curl -X POST http://127.0.0.1:8080/fake/recover
//! ```

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use posthog_health::posthog_rs::tower::PostHogLayer;
use posthog_health::routes::HealthRoute;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertsConfig, Event, PostHog, RolloutConfig};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    // Before the client is built: it shows itself to the recorder that is there.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("posthog_batch_events".into()), &[1.0, 10.0, 50.0, 100.0])?
        .install_recorder()?;
    let (posthog, fake) = posthog()?;
    let mut app = Router::new()
        .route("/orders/{id}", post(place_order))
        // Gives each event of a request the person and the session that the browser named.
        .layer(PostHogLayer::new())
        .route_service("/readyz", HealthRoute::readiness(&posthog))
        .route_service("/readyz/strict", HealthRoute::strict(&posthog))
        .route_service("/livez", HealthRoute::liveness(&posthog))
        .route_service("/rollout", HealthRoute::rollout(&posthog))
        .route("/metrics", get(move || async move { prometheus.render() }))
        .with_state(posthog.clone());
    if let Some(fake) = fake {
        app = app.nest("/fake", fake_switch(fake));
    }
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serving = axum::serve(listener, app).with_graceful_shutdown(asked_to_stop());
    tokio::select! {
        served = serving => served?,
        () = out_of_patience() => {}
    }

    // Last, when no request can capture any more.
    posthog.shutdown(Duration::from_secs(5)).await;
    println!("ledger: {}", posthog.stats());
    Ok(())
}

/// The alert's threshold, 5 s, among them.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

fn posthog() -> Result<(PostHog, Option<FakePostHog>), posthog_health::ConfigError> {
    if ["POSTHOG_API_KEY", "POSTHOG_API_KEY_FILE"].iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok((PostHog::from_env().build()?, None));
    }
    let (fake, seconds) = (FakePostHog::start(), Duration::from_secs);
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(fake.url())
        .linger(Duration::from_millis(100))
        .probe_cache(seconds(1))
        .alerts(AlertsConfig::default().resolve_after(seconds(5)))
        .rollout(RolloutConfig::default().window(seconds(10)).min_attempts(5))
        .build()?;
    Ok((posthog, Some(fake)))
}

async fn place_order(State(posthog): State<PostHog>, Path(id): Path<String>) -> StatusCode {
    posthog.capture(Event::new("order placed".to_owned(), format!("customer-of-{id}")));
    StatusCode::CREATED
}

/// Switches the fake PostHog off and on.
fn fake_switch(fake: FakePostHog) -> Router {
    let fake = std::sync::Arc::new(fake);
    let off = fake.clone();
    Router::new()
        .route("/outage", post(move || async move { off.always(Reply::status(503)) }))
        .route("/recover", post(move || async move { fake.recover() }))
}

/// Requests under way have so long to end; then nobody waits for them.
async fn out_of_patience() {
    asked_to_stop().await;
    tokio::time::sleep(Duration::from_secs(15)).await;
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
