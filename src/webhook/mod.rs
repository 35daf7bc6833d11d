//! Accepts PostHog's webhooks and refuses all others: an ordinary [`tower`] layer around your handler.
//!
//! ```text
//!  PostHog ─► headers ─────► body ─────► signature ─► seen before? ─► your handler ─► 2xx: remembered
//!               │             │             │            │                  └──► else: forgotten, PostHog tries again
//!               ▼             ▼             ▼            ├ handled: 200
//!        401 missing, old   413 too large  401           └ in flight: 503
//!        400 malformed      400 incomplete
//! ```
//!
//! PostHog signs webhooks if the destination has a *Signing secret*. The scheme is [Standard
//! Webhooks](https://www.standardwebhooks.com): HMAC-SHA256 over the id, the time and the body as sent. With axum:
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
//! Without the layer, call [`WebhookVerifier::verify`] with headers, body and time. `docs/webhooks.md` explains the setup in
//! PostHog and the rotation of the secret.
//!
//! # Once, and at least once
//!
//! PostHog makes up to three attempts: it retries 408, 429, 500, 502, 503, 504 and a missing answer after 10 s. All attempts
//! have the same id, so an id is remembered only after the handler has answered 2xx. If the handler fails, panics or is
//! cancelled because PostHog closed the connection, nothing is remembered and the next attempt reaches the handler. A copy
//! of a handled webhook gets 200 without a call of the handler, so that PostHog stops. A copy of a webhook that is in flight
//! gets 503, because its result is not known yet.
//!
//! Ids are remembered in this process, for twice the tolerance after they were last seen. A copy may also reach another
//! instance of your service, or arrive after a restart or after the handler was cancelled halfway. An effect that must not
//! happen twice therefore needs [`Verified::id`] as a unique key in its own store.
//!
//! # What it leaves to you
//!
//! The layer has no timeout for slow bodies: use your server's, or a tower timeout around the layer. It does not parse the
//! body. Decompression belongs inside the layer, because the signature covers the bytes as sent. Asymmetric signatures
//! (`v1a`) are ignored; PostHog makes none.

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
mod validator;
mod verifier;

pub use error::WebhookError;
pub use layer::WebhookLayer;
pub use secret::WebhookSecret;
pub use service::WebhookService;
pub use shared::SharedSecret;
pub use verifier::{Verified, WebhookVerifier, WebhookVerifierBuilder};
