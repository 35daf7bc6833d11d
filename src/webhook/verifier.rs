use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;
use super::header::only;
use super::secret::WebhookSecret;
use super::signature::is_signed;
use crate::ConfigError;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What the reference libraries take: longer than clocks differ and requests travel, and short enough that ids can be
/// remembered for as long.
const TOLERANCE: Duration = Duration::from_secs(300);
const LONGEST_TOLERANCE: Duration = Duration::from_secs(3600);

/// Longer than any id in use, so that what is remembered is bounded in bytes too.
const LONGEST_ID: usize = 256;

/// Knows whether a webhook was signed with one of its secrets, a short while ago. Decides only: no I/O, no clock, no memory
/// of what it has seen, which [`WebhookLayer`](super::WebhookLayer) adds.
///
/// # Clone
///
/// Cheap; clones share the secrets.
#[derive(Clone, Debug)]
pub struct WebhookVerifier {
    secrets: Arc<[WebhookSecret]>,
    tolerance: Duration,
}

impl WebhookVerifier {
    /// Trusts the destination that signs with `secret`: `whsec_` and base64.
    ///
    /// # Errors
    ///
    /// As [`WebhookSecret::parse`].
    pub fn new(secret: &str) -> Result<Self, ConfigError> {
        Self::builder().secret(secret).build()
    }

    /// For several secrets or another tolerance.
    pub fn builder() -> WebhookVerifierBuilder {
        WebhookVerifierBuilder { secrets: Vec::new(), tolerance: TOLERANCE }
    }

    /// Verifies a webhook: `body` is what came over the wire, byte by byte, and `now` is the time.
    ///
    /// # Errors
    ///
    /// When a header is missing or malformed, the time is outside the tolerance, or no signature matches, in this order.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Verified, WebhookError> {
        let claim = self.claim(headers, now)?;
        if !is_signed(&self.secrets, (claim.id, claim.timestamp, body), &claim.signatures) {
            return Err(WebhookError::BadSignature);
        }
        Ok(Verified { id: claim.id.into(), timestamp: claim.sent })
    }

    /// What the headers say, true or not. It is worth reading the body for.
    pub(super) fn claim<'a>(
        &self,
        headers: &'a HeaderMap,
        now: SystemTime,
    ) -> Result<Claim<'a>, WebhookError> {
        let (id, timestamp) = (only(headers, &ID)?, only(headers, &TIMESTAMP)?);
        let mut signatures = Vec::new();
        for list in headers.get_all(SIGNATURE) {
            signatures.push(list.to_str().map_err(|_| WebhookError::MalformedHeader(SIGNATURE))?);
        }
        if signatures.is_empty() {
            return Err(WebhookError::MissingHeader(SIGNATURE));
        }
        // With a dot in it, what was signed could be taken apart in another way: a part of the body would be the timestamp.
        if id.is_empty() || id.len() > LONGEST_ID || id.contains('.') {
            return Err(WebhookError::MalformedHeader(ID));
        }
        let sent = time(timestamp).ok_or(WebhookError::MalformedHeader(TIMESTAMP))?;
        match now.duration_since(sent) {
            Ok(age) if age > self.tolerance => Err(WebhookError::TooOld),
            Err(ahead) if ahead.duration() > self.tolerance => Err(WebhookError::TooNew),
            _ => Ok(Claim { id, timestamp, sent, signatures }),
        }
    }

    pub(super) fn tolerance(&self) -> Duration {
        self.tolerance
    }
}

/// Seconds since 1970, in digits only.
fn time(timestamp: &str) -> Option<SystemTime> {
    let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| timestamp.parse().ok())??;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

pub(super) struct Claim<'a> {
    id: &'a str,
    /// As it was signed.
    timestamp: &'a str,
    sent: SystemTime,
    signatures: Vec<&'a str>,
}

/// Builds a [`WebhookVerifier`].
#[derive(Clone, Debug)]
pub struct WebhookVerifierBuilder {
    secrets: Vec<Result<WebhookSecret, ConfigError>>,
    tolerance: Duration,
}

impl WebhookVerifierBuilder {
    /// One more secret to trust. Two while a secret is changed: the new one and the old one.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(WebhookSecret::parse(secret));
        self
    }

    /// How far the time of a webhook may be from now, in the past and in the future: 300 s by default, as in the reference
    /// libraries; up to an hour. An attempt's time is that of the attempt, so retries are no reason for more.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The verifier.
    ///
    /// # Errors
    ///
    /// When there is no secret, one cannot be one ([`WebhookSecret::parse`]), or the tolerance is less than a second or
    /// more than an hour.
    pub fn build(self) -> Result<WebhookVerifier, ConfigError> {
        let secrets: Arc<[_]> = self.secrets.into_iter().collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            let remedy = "give the signing secret of the destination in PostHog, or use a SharedSecret";
            return Err(ConfigError::new("webhook secret", "is missing", remedy));
        }
        if !(Duration::from_secs(1)..=LONGEST_TOLERANCE).contains(&self.tolerance) {
            let problem = format!("is {}", humantime::format_duration(self.tolerance));
            return Err(ConfigError::new("webhook tolerance", problem, "take 1 s to 1 h; 5 min is usual"));
        }
        Ok(WebhookVerifier { secrets, tolerance: self.tolerance })
    }
}

/// A webhook that was verified: the layer puts it into the extensions of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    id: Arc<str>,
    timestamp: SystemTime,
}

impl Verified {
    /// The webhook's id. All attempts to deliver it have the same, so it is the key for handling it once.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When this attempt was sent, to the second.
    pub fn timestamp(&self) -> SystemTime {
        self.timestamp
    }
}
