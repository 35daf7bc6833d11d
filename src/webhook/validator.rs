//! Decides which requests reach the handler, and answers the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tower::BoxError;
use tracing::{debug, warn};

use super::error::WebhookError;
use super::replay::{InFlight, ReplayCache, Seen};
use super::shared::SharedSecret;
use super::verifier::WebhookVerifier;
use crate::rt::{Episode, target};

#[derive(Clone)]
enum Scheme {
    Signed { verifier: WebhookVerifier, replays: ReplayCache },
    Shared(SharedSecret),
}

/// Verifies requests and detects replays. Clones share the remembered ids.
#[derive(Clone)]
pub struct Validator {
    scheme: Scheme,
    pub body_limit: usize,
    /// One episode for each code, so that a scanner without signatures does not hide that PostHog's signatures fail.
    episodes: Arc<Mutex<HashMap<&'static str, Episode>>>,
}

/// A request for the handler. There is no guard under a scheme without ids.
pub type Admitted = (Request<Full<Bytes>>, Option<InFlight>);

/// PostHog accepts events of up to 1 MB, and a webhook's body has the person besides the event, and little more.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// At a hundred webhooks per second, this covers more than the ten minutes in which a copy may arrive. A full memory
/// takes about 20 MB.
const REPLAY_IDS: usize = 100_000;

/// PostHog's timeout is 10 s, so a copy of a webhook in flight usually means a slow handler. PostHog makes three attempts
/// in all, and the next one should not come too early.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Validator {
    pub fn signed(verifier: WebhookVerifier) -> Self {
        let replays = ReplayCache::new(verifier.tolerance, REPLAY_IDS);
        Self::new(Scheme::Signed { verifier, replays })
    }

    pub fn shared(secret: SharedSecret) -> Self {
        Self::new(Scheme::Shared(secret))
    }

    fn new(scheme: Scheme) -> Self {
        Self { scheme, body_limit: BODY_LIMIT, episodes: Arc::default() }
    }

    /// Begins with an empty memory of this capacity. Without ids, there is nothing to remember.
    pub fn with_replay_ids(mut self, capacity: usize) -> Self {
        if let Scheme::Signed { verifier, replays } = &mut self.scheme {
            *replays = ReplayCache::new(verifier.tolerance, capacity);
        }
        self
    }

    /// Verifies a request and marks its id as in flight. Returns `None` for a webhook that was handled before, whose sender
    /// did not receive our answer.
    pub async fn admit<B>(&self, request: Request<B>) -> Result<Option<Admitted>, WebhookError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        // The headers first: without a plausible signature, the body is not even read.
        self.check(&head.headers)?;
        let body = read_body(body, self.body_limit).await?;
        let mut in_flight = None;
        if let Scheme::Signed { verifier, replays } = &self.scheme {
            // A slow body may take long, so the time is checked again.
            let verified = verifier.verify(&head.headers, &body, now())?;
            in_flight = match replays.begin(verified.id(), now()) {
                Seen::Never(in_flight) => Some(in_flight),
                Seen::InFlight => return Err(WebhookError::InFlight),
                Seen::Handled => {
                    debug!(target: target::WEBHOOK, "webhook was handled before");
                    return Ok(None);
                }
            };
            head.extensions.insert(verified);
        }
        Ok(Some((Request::from_parts(head, Full::new(body)), in_flight)))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), WebhookError> {
        match &self.scheme {
            Scheme::Signed { verifier, .. } => verifier.claim(headers, now()).map(drop),
            Scheme::Shared(secret) => secret.verify(headers),
        }
    }

    /// Remembers a webhook whose handler succeeded.
    pub fn handled(&self, in_flight: InFlight) {
        if !in_flight.handled(now()) && self.is_news("replay_ids") {
            warn!(
                target: target::WEBHOOK,
                "too few replay_ids: the oldest webhooks are forgotten before their time"
            );
        }
    }

    /// Logs a refusal and builds the answer. The answer's body is the code alone, so that an attacker does not learn what
    /// would be accepted.
    pub fn refuse<R: From<Bytes>>(&self, error: &WebhookError) -> Response<R> {
        let code = error.code();
        if self.is_news(code) {
            warn!(target: target::WEBHOOK, code, "webhook refused: {error}");
        } else {
            debug!(target: target::WEBHOOK, code, "webhook refused, as lately: {error}");
        }
        let mut answer = Response::new(Bytes::from_static(code.as_bytes()).into());
        *answer.status_mut() = error.status();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if *error == WebhookError::InFlight {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AGAIN_AFTER.as_secs()));
        }
        answer
    }

    fn is_news(&self, what: &'static str) -> bool {
        let mut episodes = self.episodes.lock().unwrap_or_else(PoisonError::into_inner);
        episodes.entry(what).or_default().begins(Instant::now())
    }
}

async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, WebhookError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    // Most clients announce the length: then nothing is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(WebhookError::BodyTooLarge { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(WebhookError::BodyTooLarge { limit }),
        Err(_) => Err(WebhookError::BodyUnreadable),
    }
}

/// The module's one clock.
fn now() -> SystemTime {
    SystemTime::now()
}
