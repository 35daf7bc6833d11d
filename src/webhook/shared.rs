use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;
use super::header::single_value;
use crate::ConfigError;

/// The shortest secret, in characters: a shorter one can be guessed.
const SHORTEST: usize = 16;

/// A secret in a header, for destinations that do not sign: a webhook without a signing secret, or a relayed one.
///
/// It authenticates the sender and not the request, so anybody who reads one request can forge others. Use it over HTTPS
/// only, and prefer signatures. It carries no id and no time, so replays cannot be detected: deduplicate by the body (an
/// event's uuid).
#[derive(Clone)]
pub struct SharedSecret {
    header: HeaderName,
    /// Digests have equal lengths, so that a comparison does not reveal the secret's length.
    digests: Vec<Digest>,
}

impl SharedSecret {
    /// Expects `secret` in the header of this name. Whitespace around the secret is ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if the header's name is invalid, or if `secret` has fewer than 16 characters or characters that a
    /// header cannot contain.
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

    /// Trusts one more secret, for a rotation.
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

    /// Verifies that the header contains one of the secrets.
    ///
    /// # Errors
    ///
    /// Returns an error if the header is missing, occurs more than once, or contains something else.
    pub fn verify(&self, headers: &HeaderMap) -> Result<(), WebhookError> {
        let given = digest(&SHA256, single_value(headers, &self.header)?.as_bytes());
        let is_one = |known: &Digest| verify_slices_are_equal(known.as_ref(), given.as_ref()).is_ok();
        if self.digests.iter().any(is_one) { Ok(()) } else { Err(WebhookError::WrongSecret) }
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").field("header", &self.header).finish_non_exhaustive()
    }
}
