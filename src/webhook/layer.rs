use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::door::{Door, Scheme};
use super::replay::Replays;
use super::service::WebhookService;
use super::shared::SharedSecret;
use super::verifier::WebhookVerifier;

/// PostHog takes events of up to 1 MB, and with the person a webhook's body has little more than an event in it.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// At a hundred webhooks a second, more than the ten minutes in which a copy could come; about 20 MB when it is full.
const REPLAY_IDS: usize = 100_000;

/// Lets through only webhooks that are authentic, each until it was handled; see the [module](super).
///
/// # Clone
///
/// Clones, and the services that it makes, share what they remember.
#[derive(Clone)]
pub struct WebhookLayer {
    door: Door,
}

impl WebhookLayer {
    /// For a destination that signs.
    pub fn new(verifier: WebhookVerifier) -> Self {
        let replays = Replays::new(verifier.tolerance(), REPLAY_IDS);
        Self { door: Door::new(Scheme::Signed { verifier, replays }, BODY_LIMIT) }
    }

    /// For one that does not, with a secret in a header. There is no id: replays are not known, and the request has no
    /// [`Verified`](super::Verified) in it.
    pub fn shared_secret(secret: SharedSecret) -> Self {
        Self { door: Door::new(Scheme::Shared(secret), BODY_LIMIT) }
    }

    /// How many bytes a body may have, 2 MiB by default. It is in memory while its request is handled.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.door.body_limit = bytes;
        self
    }

    /// How many webhooks that were handled are remembered, 100,000 by default. When that is too few, the oldest are
    /// forgotten before their time, and a line in the log says so: a copy of one of them would be handled once more. With
    /// 0 none is remembered; copies still do not run at the same time.
    ///
    /// Call it before the layer is cloned or used: what was remembered until then stays behind.
    pub fn replay_ids(mut self, most: usize) -> Self {
        if let Scheme::Signed { verifier, replays } = &mut self.door.scheme {
            *replays = Replays::new(verifier.tolerance(), most);
        }
        self
    }
}

impl<S> Layer<S> for WebhookLayer {
    type Service = WebhookService<S>;

    fn layer(&self, service: S) -> Self::Service {
        WebhookService::new(service, Arc::new(self.door.clone()))
    }
}

impl fmt::Debug for WebhookLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookLayer").field("body_limit", &self.door.body_limit).finish_non_exhaustive()
    }
}
