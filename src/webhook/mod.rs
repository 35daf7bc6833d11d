//! Lets PostHog's webhooks in, and nobody else's: an ordinary [`tower`] layer round your handler.
//!
//! ```text
//!  PostHog ─► headers ─────► body ─────► signature ─► seen before? ─► your handler ─► 2xx: remembered
//!               │             │             │            │                  └──► else: forgotten, PostHog tries again
//!               ▼             ▼             ▼            ├ handled: 200
//!        401 missing, old   413 too large  401           └ under way: 503
//!        400 malformed      400 broken off
//! ```
//!
//! PostHog signs when the destination has a *Signing secret*, by the [Standard Webhooks](https://www.standardwebhooks.com)
//! scheme: HMAC-SHA256 over the id, the time and the body as it is on the wire. With axum:
//!
//! ```
//! use axum::routing::post;
//! use axum::{Extension, Router};
//! use posthog_health::webhook::{Verified, WebhookLayer, WebhookVerifier};
//!
//! async fn received(Extension(webhook): Extension<Verified>, body: String) {
//!     println!("{} says {body}", webhook.id());
//! }
//!
//! # fn router(secret: &str) -> Result<Router, posthog_health::ConfigError> {
//! let verifier = WebhookVerifier::new(secret)?; // whsec_…
//! let router = Router::new().route("/posthog", post(received)).layer(WebhookLayer::new(verifier));
//! # Ok(router)
//! # }
//! ```
//!
//! Without the layer, [`WebhookVerifier::verify`] takes headers, body and time, and decides. `docs/webhooks.md` has how to set
//! it up in PostHog and how to change the secret.
//!
//! # Once, and at least once
//!
//! PostHog tries up to three times: after 408, 429, 500, 502, 503, 504, and when there is no answer within 10 s. All attempts
//! have the same id. So an id is remembered only when the handler has answered 2xx. If it fails, panics, or is cancelled
//! because PostHog hung up, nothing is remembered and the next attempt reaches it. Who sends an id that was handled gets 200,
//! since PostHog is to stop, and the handler is not called. A copy that comes while the first is being handled gets 503, since
//! nobody knows yet how that ends.
//!
//! Ids are remembered in this process, for twice the tolerance after they were last seen. A copy can also reach another
//! instance of your service, or come after a restart, or after the handler was cancelled halfway: whatever must not happen
//! twice needs [`Verified::id`] as a unique key where it happens.
//!
//! # What it does not do
//!
//! It does not wait for a slow body: a server's or a tower timeout outside does. It does not look into the body, and
//! decompression belongs inside of it, since what is signed is what is sent. Asymmetric signatures (`v1a`) are passed over;
//! PostHog makes none.

mod door;
mod error;
#[cfg(test)]
mod fuzz;
mod header;
mod layer;
mod replay;
mod secret;
mod service;
mod shared;
mod signature;
mod verifier;

pub use error::WebhookError;
pub use layer::WebhookLayer;
pub use secret::WebhookSecret;
pub use service::WebhookService;
pub use shared::SharedSecret;
pub use verifier::{Verified, WebhookVerifier, WebhookVerifierBuilder};
