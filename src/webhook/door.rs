//! Who is let in, and what those hear who are not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tower::BoxError;
use tracing::{debug, warn};

use super::error::WebhookError;
use super::replay::{Replays, Seen, UnderWay};
use super::shared::SharedSecret;
use super::verifier::WebhookVerifier;
use crate::episode::Episode;
use crate::rt::target;

#[derive(Clone)]
pub(super) enum Scheme {
    Signed { verifier: WebhookVerifier, replays: Replays },
    Shared(SharedSecret),
}

/// Clones share what they remember.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) scheme: Scheme,
    pub(super) body_limit: usize,
    /// By what is told: a scanner that signs nothing must not hide that PostHog's signatures are refused.
    episodes: Arc<Mutex<HashMap<&'static str, Episode>>>,
}

/// A request to be handled. Nothing is under way where nothing can be remembered.
pub(super) type Admitted = (Request<Full<Bytes>>, Option<UnderWay>);

impl Door {
    pub(super) fn new(scheme: Scheme, body_limit: usize) -> Self {
        Self { scheme, body_limit, episodes: Arc::default() }
    }

    /// Verifies a request, and remembers that it is under way. `None`: it was handled, and whoever sends it has not heard
    /// so. Its headers come first: who has none is read no further.
    pub(super) async fn admit<B>(&self, request: Request<B>) -> Result<Option<Admitted>, WebhookError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        self.check(&head.headers)?;
        let body = whole(body, self.body_limit).await?;
        let mut under_way = None;
        if let Scheme::Signed { verifier, replays } = &self.scheme {
            // The time again: a body may take long.
            let verified = verifier.verify(&head.headers, &body, now())?;
            under_way = match replays.begin(verified.id(), now()) {
                Seen::Never(under_way) => Some(under_way),
                Seen::UnderWay => return Err(WebhookError::UnderWay),
                Seen::Handled => {
                    debug!(target: target::WEBHOOK, "webhook was handled before");
                    return Ok(None);
                }
            };
            head.extensions.insert(verified);
        }
        Ok(Some((Request::from_parts(head, Full::new(body)), under_way)))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), WebhookError> {
        match &self.scheme {
            Scheme::Signed { verifier, .. } => verifier.claim(headers, now()).map(drop),
            Scheme::Shared(secret) => secret.verify(headers),
        }
    }

    pub(super) fn handled(&self, under_way: UnderWay) {
        if !under_way.handled(now()) && self.is_news("replay_ids") {
            warn!(
                target: target::WEBHOOK,
                "too few replay_ids: the oldest webhooks are forgotten before their time"
            );
        }
    }

    /// Logs a refusal and answers with its code alone: whoever knocks learns nothing of what would be right.
    pub(super) fn refuse<R: From<Bytes>>(&self, error: &WebhookError) -> Response<R> {
        let code = error.code();
        if self.is_news(code) {
            warn!(target: target::WEBHOOK, code, "webhook refused: {error}");
        } else {
            debug!(target: target::WEBHOOK, code, "webhook refused, as lately: {error}");
        }
        let mut answer = Response::new(Bytes::from_static(code.as_bytes()).into());
        *answer.status_mut() = error.status();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Some(wait) = error.retry_after() {
            answer.headers_mut().insert(RETRY_AFTER, wait);
        }
        answer
    }

    fn is_news(&self, what: &'static str) -> bool {
        let mut episodes = self.episodes.lock().unwrap_or_else(PoisonError::into_inner);
        episodes.entry(what).or_default().begins(Instant::now())
    }
}

async fn whole<B>(body: B, limit: usize) -> Result<Bytes, WebhookError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(WebhookError::BodyTooLarge { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(WebhookError::BodyTooLarge { limit }),
        Err(_) => Err(WebhookError::BodyUnreadable),
    }
}

/// The one clock.
fn now() -> SystemTime {
    SystemTime::now()
}
