//! The decision alone: headers, body, time.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use posthog_health::webhook::{WebhookError, WebhookSecret, WebhookVerifier};
use proptest::prelude::*;

use super::{BODY, OTHER, SECRET, at, headers, secret, signed};

const TIME: u64 = 1_700_000_000;

fn verifier() -> WebhookVerifier {
    WebhookVerifier::new(SECRET).unwrap()
}

fn error(headers: &HeaderMap) -> WebhookError {
    verifier().verify(headers, BODY, at(TIME)).unwrap_err()
}

#[test]
fn a_secret_is_changed_by_trusting_two() {
    let both = [SECRET, OTHER].map(|secret| WebhookSecret::parse(secret).unwrap().sign("a", TIME, BODY));
    for trusted in [[SECRET, OTHER], [OTHER, SECRET]] {
        let verifier = WebhookVerifier::builder().secret(trusted[0]).secret(trusted[1]).build().unwrap();
        for signature in &both {
            assert!(verifier.verify(&headers("a", TIME, signature), BODY, at(TIME)).is_ok());
        }
    }
    let afterwards = WebhookVerifier::new(OTHER).unwrap();
    let old = afterwards.verify(&headers("a", TIME, &both[0]), BODY, at(TIME));
    assert_eq!(old, Err(WebhookError::BadSignature));
}

#[test]
fn the_time_may_differ_by_the_tolerance_both_ways() {
    let narrow = WebhookVerifier::builder().secret(SECRET).tolerance(Duration::from_secs(1)).build().unwrap();
    for (verifier, tolerance) in [(verifier(), 300), (narrow, 1)] {
        let verify = |now| verifier.verify(&signed("a", TIME, BODY), BODY, at(now)).map(drop);
        assert_eq!(verify(TIME + tolerance), Ok(()));
        assert_eq!(verify(TIME - tolerance), Ok(()));
        assert_eq!(verify(TIME + tolerance + 1), Err(WebhookError::TooOld));
        assert_eq!(verify(TIME - tolerance - 1), Err(WebhookError::TooNew));
    }
}

#[test]
fn a_clock_before_1970_and_times_without_end_are_told() {
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(200);
    let verify = |timestamp, now| verifier().verify(&signed("a", timestamp, BODY), BODY, now).map(drop);
    assert_eq!(verify(0, before), Ok(()));
    assert_eq!(verify(101, before), Err(WebhookError::TooNew));
    for last in [u64::MAX, i64::MAX as u64, u64::from(u32::MAX)] {
        let refused = verify(last, at(TIME)).unwrap_err();
        let malformed = WebhookError::MalformedHeader(HeaderName::from_static("webhook-timestamp"));
        assert!(refused == WebhookError::TooNew || refused == malformed, "{last}: {refused}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut headers = signed("a", TIME, BODY);
        headers.remove(name);
        assert_eq!(error(&headers), WebhookError::MissingHeader(HeaderName::from_static(name)));
    }
}

#[test]
fn what_is_malformed_is_named() {
    let long = "x".repeat(257);
    let cases: [(&str, &[&[u8]]); 3] = [
        ("webhook-id", &[b"", b"a.1700000000", b"\xff", b"a\tb\xe4", long.as_bytes()]),
        (
            "webhook-timestamp",
            &[b"", b"+1700000000", b"-1", b"1700000000.5", b"0x1", b"now", b"99999999999999999999", b"\xff"],
        ),
        ("webhook-signature", &[b"v1,\xff"]),
    ];
    for (name, values) in cases {
        let name = HeaderName::from_static(name);
        for value in values {
            let mut headers = signed("a", TIME, BODY);
            headers.insert(&name, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(error(&headers), WebhookError::MalformedHeader(name.clone()), "{value:?}");
        }
    }
}

/// Which of two would be the one that was signed?
#[test]
fn a_second_id_or_time_is_malformed_and_a_second_list_of_signatures_is_not() {
    for name in ["webhook-id", "webhook-timestamp"] {
        let mut headers = signed("a", TIME, BODY);
        let value = headers[name].clone();
        headers.append(name, value);
        assert_eq!(error(&headers), WebhookError::MalformedHeader(HeaderName::from_static(name)));
    }
    let mut headers = headers("a", TIME, "v1,none");
    headers.append("webhook-signature", secret().sign("a", TIME, BODY).parse().unwrap());
    assert!(verifier().verify(&headers, BODY, at(TIME)).is_ok());
}

/// "a.1700000000" would be the id, "5" no time, but a body that begins with digits and a dot makes one.
#[test]
fn what_was_signed_can_be_taken_apart_in_one_way_only() {
    let signature = secret().sign("a", TIME, b"1700000001.0");
    let shifted = headers("a.1700000000", 1_700_000_001, &signature);
    let taken = verifier().verify(&shifted, b"0", at(TIME));
    assert_eq!(taken, Err(WebhookError::MalformedHeader(HeaderName::from_static("webhook-id"))));
}

#[test]
fn what_cannot_work_is_told_by_build() {
    let missing = WebhookVerifier::builder().build().unwrap_err();
    assert_eq!((missing.field(), missing.problem()), ("webhook secret", "is missing"));
    let bad = WebhookVerifier::builder().secret(SECRET).secret("whsec_c2hvcnQ=").build().unwrap_err();
    assert!(bad.problem().contains("5 bytes") && !bad.to_string().contains("c2hv"), "{bad}");
    for tolerance in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(3601)] {
        let wide = WebhookVerifier::builder().secret(SECRET).tolerance(tolerance).build().unwrap_err();
        assert_eq!(wide.field(), "webhook tolerance");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?} {:?}", verifier(), WebhookVerifier::builder().secret(SECRET));
    assert!(!shown.contains("MfKQ9r8G") && !shown.contains("49, 242"), "{shown}");
}

/// Any id that PostHog could have.
fn id() -> impl Strategy<Value = String> {
    "[!-\\-/-~]{1,256}"
}

proptest! {
    #[test]
    fn what_is_signed_is_verified(
        id in id(),
        body in prop::collection::vec(any::<u8>(), 0..2_000),
        time in 0_u64..10_000_000_000,
        off in -300_i64..=300,
    ) {
        let verified = verifier().verify(&signed(&id, time, &body), &body, at(time.saturating_add_signed(off)));
        let verified = verified.unwrap();
        prop_assert_eq!((verified.id(), verified.timestamp()), (id.as_str(), at(time)));
    }

    /// Each bit of all four counts.
    #[test]
    fn a_single_bit_that_differs_is_refused(
        id in id(),
        body in prop::collection::vec(any::<u8>(), 1..200),
        part in 0_usize..4,
        bit in any::<prop::sample::Index>(),
    ) {
        let mut headers = signed(&id, TIME, &body);
        let mut changed = body.clone();
        let flip = |bytes: &mut [u8]| {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        };
        if part == 3 {
            flip(&mut changed);
        } else {
            let name = ["webhook-id", "webhook-timestamp", "webhook-signature"][part];
            let mut value = headers[name].as_bytes().to_vec();
            flip(&mut value);
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            headers.insert(name, value);
        }
        // The tolerance alone would refuse most other times.
        let wide = WebhookVerifier::builder().secret(SECRET).tolerance(Duration::from_secs(3600)).build().unwrap();
        prop_assert!(wide.verify(&headers, &changed, at(TIME)).is_err());
    }

    #[test]
    fn no_header_panics(
        values in prop::collection::vec((0_usize..3, prop::collection::vec(any::<u8>(), 0..80)), 0..6),
        now in any::<u32>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            let name = ["webhook-id", "webhook-timestamp", "webhook-signature"][name];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        prop_assert!(verifier().verify(&headers, BODY, at(now.into())).is_err());
    }

    #[test]
    fn the_order_of_secrets_and_of_signatures_does_not_matter(
        secrets in prop::collection::hash_set("[A-Za-z0-9+/]{32}", 4),
        trusted in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        signing in Just(vec![2_usize, 3]).prop_shuffle(),
    ) {
        let secrets: Vec<_> = secrets.into_iter().collect();
        let sign = |of: &usize| WebhookSecret::parse(&secrets[*of]).unwrap().sign("a", TIME, BODY);
        let verify = |signing: &[usize]| {
            let signatures: Vec<_> = signing.iter().map(sign).collect();
            let builder = trusted.iter().fold(WebhookVerifier::builder(), |builder, of| builder.secret(&secrets[*of]));
            builder.build().unwrap().verify(&headers("a", TIME, &signatures.join(" ")), BODY, at(TIME)).is_ok()
        };
        prop_assert!(verify(&signing));
        prop_assert!(!verify(&[3, 3]));
    }
}
