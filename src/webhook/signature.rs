//! The Standard Webhooks scheme, pure: text in, yes or no out.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::secret::WebhookSecret;

/// The version of a symmetric signature. Others are passed over: a sender may sign in several ways.
const VERSION: &str = "v1,";

/// HMAC-SHA256, in bytes.
const TAG: usize = 32;

/// Whether one of `signatures` is that of one of `secrets`. How long the comparison of two takes tells nothing about
/// either.
pub(super) fn is_signed(
    secrets: &[WebhookSecret],
    (id, timestamp, body): (&str, &str, &[u8]),
    signatures: &[&str],
) -> bool {
    let given: Vec<_> = signatures.iter().flat_map(|list| list.split(' ')).filter_map(decode).collect();
    secrets
        .iter()
        .map(|secret| secret.tag(id, timestamp, body))
        .any(|expected| given.iter().any(|tag| verify_slices_are_equal(expected.as_ref(), tag).is_ok()))
}

pub(super) fn encode(tag: &[u8]) -> String {
    format!("{VERSION}{}", BASE64_STANDARD.encode(tag))
}

/// Strict: there is one way to write a signature.
fn decode(signature: &str) -> Option<[u8; TAG]> {
    let encoded = signature.strip_prefix(VERSION)?;
    // One more than needed: what base64 expects before it has seen the padding. Longer ones do not fit.
    let mut decoded = [0; TAG + 1];
    let length = BASE64_STANDARD.decode_slice(encoded, &mut decoded).ok()?;
    decoded[..length].try_into().ok()
}
