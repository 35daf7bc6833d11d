use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;
use super::header::single_value;
use super::secret::WebhookSecret;
use super::signature::is_signed;
use crate::ConfigError;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The reference libraries' tolerance: longer than clocks differ and requests travel, and short enough that ids can be
/// remembered meanwhile.
const TOLERANCE: Duration = Duration::from_secs(300);
const LONGEST_TOLERANCE: Duration = Duration::from_secs(3600);

/// Longer than any id in use. The limit bounds the bytes of the remembered ids.
const LONGEST_ID: usize = 256;

/// Verifies that a webhook was signed recently with one of its secrets.
///
/// Verification is pure: it does no I/O, reads no clock and does not detect replays.
/// [`WebhookLayer`](super::WebhookLayer) adds these.
///
/// # Clone
///
/// A clone is cheap and shares the secrets.
#[derive(Clone, Debug)]
pub struct WebhookVerifier {
    secrets: Arc<[WebhookSecret]>,
    pub(crate) tolerance: Duration,
}

impl WebhookVerifier {
    /// Trusts the destination that signs with `secret` (`whsec_` and base64).
    ///
    /// # Errors
    ///
    /// Returns the error of [`WebhookSecret::parse`].
    pub fn new(secret: &str) -> Result<Self, ConfigError> {
        Self::builder().secret(secret).build()
    }

    /// Configures several secrets or another tolerance.
    pub fn builder() -> WebhookVerifierBuilder {
        WebhookVerifierBuilder { secrets: Vec::new(), tolerance: TOLERANCE }
    }

    /// Verifies a webhook. `body` must be the bytes as received, and `now` is the present time.
    ///
    /// # Errors
    ///
    /// Returns an error if a header is missing or malformed, the time is outside the tolerance, or no signature matches. The
    /// checks run in this order.
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

    /// Parses the headers, whose signature is still unproven. A request that fails here is not worth reading its body.
    pub(crate) fn claim<'a>(
        &self,
        headers: &'a HeaderMap,
        now: SystemTime,
    ) -> Result<Claim<'a>, WebhookError> {
        let (id, timestamp) = (single_value(headers, &ID)?, single_value(headers, &TIMESTAMP)?);
        let mut signatures = Vec::new();
        for list in headers.get_all(SIGNATURE) {
            signatures.push(list.to_str().map_err(|_| WebhookError::MalformedHeader(SIGNATURE))?);
        }
        if signatures.is_empty() {
            return Err(WebhookError::MissingHeader(SIGNATURE));
        }
        // The signed text is `id.timestamp.body`. With a dot in the id it could be split in another way, with a part of the
        // body as the timestamp.
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
}

/// Parses seconds since 1970, written in digits alone.
fn time(timestamp: &str) -> Option<SystemTime> {
    let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| timestamp.parse().ok())??;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

pub struct Claim<'a> {
    id: &'a str,
    /// The timestamp as text, as it was signed.
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
    /// Trusts one more secret. During a rotation, trust the new one and the old one.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(WebhookSecret::parse(secret));
        self
    }

    /// Sets how far a webhook's time may be in the past or in the future, up to an hour. The default is 300 s, as in the
    /// reference libraries. Each attempt has its own time, so retries do not need a higher tolerance.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Builds the verifier.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no secret, if one does not parse ([`WebhookSecret::parse`]), or if the tolerance is less
    /// than a second or more than an hour.
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

/// A verified webhook. The layer adds it to the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    id: Arc<str>,
    timestamp: SystemTime,
}

impl Verified {
    /// Returns the webhook's id. All attempts to deliver one webhook have the same id, so use it as the key for
    /// deduplication.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the time at which this attempt was sent, in whole seconds.
    pub fn timestamp(&self) -> SystemTime {
        self.timestamp
    }
}
