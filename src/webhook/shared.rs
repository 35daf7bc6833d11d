use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;
use super::header::only;
use crate::ConfigError;

/// Less can be guessed.
const SHORTEST: usize = 16;

/// A secret in a header, for destinations that do not sign: a webhook without a signing secret, or one that is relayed.
///
/// It says who sends, and no more: whoever reads one request can send any. So over HTTPS only, and sign where you can.
/// There is no id and no time in it, so nothing knows a replay: handle by what is in the body (an event's uuid).
#[derive(Clone)]
pub struct SharedSecret {
    header: HeaderName,
    /// Of equal length whatever the secrets are, so that comparing tells not even that.
    digests: Vec<Digest>,
}

impl SharedSecret {
    /// Expects `secret` in the header of this name. Blanks around it are no part of it.
    ///
    /// # Errors
    ///
    /// When no header can have this name, or `secret` has less than 16 characters, or some that no header can have.
    pub fn new(header: &str, secret: &str) -> Result<Self, ConfigError> {
        let header = HeaderName::try_from(header).map_err(|_| {
            ConfigError::new(
                "webhook header",
                "cannot be the name of a header",
                "take x-webhook-secret, for example",
            )
        })?;
        Self { header, digests: Vec::new() }.or(secret)
    }

    /// One more secret to trust, while it is changed.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn or(mut self, secret: &str) -> Result<Self, ConfigError> {
        let secret = secret.trim();
        let refuse = |problem: String| {
            Err(ConfigError::new("webhook shared secret", problem, "make one with openssl rand -hex 32"))
        };
        if !secret.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return refuse("has control or non-ASCII characters in it".into());
        }
        if secret.len() < SHORTEST {
            return refuse(format!("has {} characters, and {SHORTEST} are the least", secret.len()));
        }
        self.digests.push(digest(&SHA256, secret.as_bytes()));
        Ok(self)
    }

    /// Whether the header has one of the secrets in it.
    ///
    /// # Errors
    ///
    /// When it is missing, there more than once, or has something else in it.
    pub fn verify(&self, headers: &HeaderMap) -> Result<(), WebhookError> {
        let given = digest(&SHA256, only(headers, &self.header)?.as_bytes());
        let is_one = |known: &Digest| verify_slices_are_equal(known.as_ref(), given.as_ref()).is_ok();
        if self.digests.iter().any(is_one) { Ok(()) } else { Err(WebhookError::WrongSecret) }
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").field("header", &self.header).finish_non_exhaustive()
    }
}
