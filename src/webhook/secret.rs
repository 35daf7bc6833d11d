use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::signature;
use crate::ConfigError;

/// The secret that signs webhooks: `whsec_` and base64, as in PostHog's field *Signing secret*. `Debug` redacts it, and its
/// memory is wiped when it is dropped.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

/// The specification's bounds, in bytes: a shorter secret can be guessed, and a longer one is no stronger.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;

/// PostHog accepts secrets without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl WebhookSecret {
    /// Parses a secret as PostHog does: base64, with or without the prefix `whsec_`. Surrounding whitespace is ignored,
    /// because a mounted secret often ends in a newline.
    ///
    /// # Errors
    ///
    /// Returns an error if the secret is empty, is not base64, or decodes to fewer than 24 or more than 64 bytes.
    pub fn parse(secret: &str) -> Result<Self, ConfigError> {
        let secret = secret.trim();
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
        if encoded.is_empty() {
            return Err(refusal("is empty".into()));
        }
        if encoded.starts_with("whpk_") || encoded.starts_with("whsk_") {
            return Err(refusal("is an asymmetric key, and PostHog signs with a shared one".into()));
        }
        let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| {
            refusal(format!("has {} characters that are no base64", encoded.chars().count()))
        })?);
        if !(SHORTEST..=LONGEST).contains(&key.len()) {
            return Err(refusal(format!("has {} bytes, and {SHORTEST} to {LONGEST} are allowed", key.len())));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Signs a webhook as PostHog does, for the tests of your handler. Returns the value of the `webhook-signature` header.
    /// `timestamp` is the value of the `webhook-timestamp` header, in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        signature::encode(self.tag(id, &timestamp.to_string(), body).as_ref())
    }

    pub(crate) fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
        let mut signed = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            signed.update(part);
        }
        signed.sign()
    }
}

fn refusal(problem: String) -> ConfigError {
    let remedy = "copy the signing secret of the destination in PostHog, or make a new one: \
                  whsec_ and 32 random bytes in base64 (openssl rand -base64 32)";
    ConfigError::new("webhook secret", problem, remedy)
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_posthog_takes() {
        let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let expected = WebhookSecret::parse(base64).unwrap().sign("id", 1, b"body");
        for secret in
            [format!("whsec_{base64}"), format!(" whsec_{base64}\n"), format!("whsec_{}", &base64[..43])]
        {
            assert_eq!(WebhookSecret::parse(&secret).unwrap().sign("id", 1, b"body"), expected);
        }
        for bytes in [24, 64] {
            let secret = base64::prelude::BASE64_STANDARD.encode(vec![7; bytes]);
            assert!(WebhookSecret::parse(&secret).is_ok());
        }
    }

    #[test]
    fn refuses_what_is_none_and_never_repeats_it() {
        let of = |bytes: usize| base64::prelude::BASE64_STANDARD.encode(vec![b's'; bytes]);
        for (secret, problem) in [
            (String::new(), "empty"),
            (" whsec_\n".to_owned(), "empty"),
            ("whpk_c2VjcmV0c2VjcmV0".to_owned(), "asymmetric"),
            (format!("whsec_{}!", of(32)), "45 characters that are no base64"),
            ("$WEBHOOK_SECRET".to_owned(), "no base64"),
            // The last bits of a base64 text must be zero.
            (format!("{}z=", &of(32)[..42]), "no base64"),
            (of(23), "23 bytes"),
            (of(65), "65 bytes"),
        ] {
            let error = WebhookSecret::parse(&secret).unwrap_err();
            assert_eq!(error.field(), "webhook secret");
            assert!(error.problem().contains(problem), "{secret}: {error}");
            assert!(!error.to_string().contains("c3Nz") && !error.to_string().contains("c2Vj"), "{error}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
    }
}
