use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::service::WebhookService;
use super::shared::SharedSecret;
use super::validator::Validator;
use super::verifier::WebhookVerifier;

/// Passes only authentic webhooks to your handler, and each until it was handled; see the [module](super).
///
/// # Clone
///
/// Clones, and the services that the layer makes, share the remembered ids.
#[derive(Clone)]
pub struct WebhookLayer {
    validator: Validator,
}

impl WebhookLayer {
    /// Creates a layer for a destination that signs.
    pub fn new(verifier: WebhookVerifier) -> Self {
        Self { validator: Validator::signed(verifier) }
    }

    /// Creates a layer for a destination that sends a secret in a header. Such webhooks have no id, so replays are not
    /// detected and the request has no [`Verified`](super::Verified) extension.
    pub fn shared_secret(secret: SharedSecret) -> Self {
        Self { validator: Validator::shared(secret) }
    }

    /// Sets the largest body, in bytes. The default is 2 MiB. The body is kept in memory while its request is handled.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.validator.body_limit = bytes;
        self
    }

    /// Sets how many handled webhooks are remembered. The default is 100,000.
    ///
    /// Beyond that number, the oldest ids are forgotten early and a log line says so; a copy of such a webhook would be
    /// handled again. With 0 no handled webhook is remembered, but copies still do not run concurrently.
    ///
    /// Call this before the layer is cloned or used: the memory begins empty.
    pub fn replay_ids(self, most: usize) -> Self {
        Self { validator: self.validator.with_replay_ids(most) }
    }
}

impl<S> Layer<S> for WebhookLayer {
    type Service = WebhookService<S>;

    fn layer(&self, service: S) -> Self::Service {
        WebhookService { service, validator: Arc::new(self.validator.clone()) }
    }
}

impl fmt::Debug for WebhookLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookLayer").field("body_limit", &self.validator.body_limit).finish_non_exhaustive()
    }
}
