//! The Standard Webhooks signature scheme. Pure.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::secret::WebhookSecret;

/// The version of symmetric signatures. Signatures of other versions are ignored, because a sender may sign in several ways.
const VERSION: &str = "v1,";

/// The length of an HMAC-SHA256, in bytes.
const TAG: usize = 32;

/// Whether one of `signatures` was made with one of `secrets`. The comparison takes constant time.
pub fn is_signed(
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

pub fn encode(tag: &[u8]) -> String {
    format!("{VERSION}{}", BASE64_STANDARD.encode(tag))
}

/// Decodes strictly, so that each signature has exactly one encoding.
fn decode(signature: &str) -> Option<[u8; TAG]> {
    let encoded = signature.strip_prefix(VERSION)?;
    // base64 wants one byte more than the result has, because it checks the space before it reads the padding.
    let mut decoded = [0; TAG + 1];
    let length = BASE64_STANDARD.decode_slice(encoded, &mut decoded).ok()?;
    decoded[..length].try_into().ok()
}
