//! The layers in other people's tower stacks: readiness, reservations, backpressure, fairness, cancellation.

#[path = "../support/layers.rs"]
mod support;

mod backpressure;
mod cancellation;
mod line;
mod probes;
mod readiness;
mod requests;

use std::time::Duration;

use posthog_health::Error;
use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Verdict};
use support::AsAnswered;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Opens at the first failure, for a second.
fn breaker() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default().window(1).min_calls(1).open_time(MS(1000), MS(1000))
}

fn layer(config: CircuitBreakerConfig) -> CircuitBreakerLayer<AsAnswered> {
    CircuitBreakerLayer::new(config, AsAnswered).unwrap()
}

/// Answers what it is asked, and hangs if it is asked for that.
async fn answer(asked: Option<Verdict>) -> Result<Verdict, Error> {
    match asked {
        Some(verdict) => Ok(verdict),
        None => std::future::pending().await,
    }
}
