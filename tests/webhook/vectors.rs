//! What the Standard Webhooks specification and its reference libraries publish.

use posthog_health::webhook::{WebhookError, WebhookSecret, WebhookVerifier};

use super::{at, headers};

/// Secret, id, time, body, signature.
const VECTORS: [(&str, &str, u64, &str, &str); 2] = [
    // The example of the specification, and what PostHog tests its own signing with.
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    // The reference library for Rust.
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
];

/// Of the reference library: well formed, and of nothing.
const OTHERS: &str = "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ= v1,Mm7xgUVICxZfQ3bgf0h0Dof65L/IFx+PnZvnDWPCX6Q= \
                      v1,9DfC1c3eeOrXB6w/5dIDydLNQaEyww5KalE5jLBZucE=";

#[test]
fn they_are_verified_and_signed() {
    for (secret, id, timestamp, body, signature) in VECTORS {
        let parsed = WebhookSecret::parse(secret).unwrap();
        assert_eq!(parsed.sign(id, timestamp, body.as_bytes()), signature);
        for secret in [secret, secret.trim_start_matches("whsec_")] {
            let verifier = WebhookVerifier::new(secret).unwrap();
            let sent = headers(id, timestamp, signature);
            let verified = verifier.verify(&sent, body.as_bytes(), at(timestamp)).unwrap();
            assert_eq!((verified.id(), verified.timestamp()), (id, at(timestamp)));
        }
    }
}

#[test]
fn one_of_several_signatures_is_enough_and_none_is_not() {
    for (secret, id, timestamp, body, signature) in VECTORS {
        let verifier = WebhookVerifier::new(secret).unwrap();
        let verify = |signatures: &str| {
            verifier
                .verify(&headers(id, timestamp, signatures), body.as_bytes(), at(timestamp))
                .map(|verified| verified.id().to_owned())
        };
        let encoded = &signature[3..];
        for several in [
            format!("{OTHERS} {signature}"),
            format!("{signature} {OTHERS}"),
            format!("v1a,{encoded} v2,x {signature}"),
        ] {
            assert_eq!(verify(&several).as_deref(), Ok(id), "{several}");
        }
        let long = format!("v1,{}", "A".repeat(10_000));
        let (half, unpadded) = (&signature[..8], signature.trim_end_matches('='));
        for none in [
            OTHERS,
            &long,
            "v1,",
            half,
            unpadded,
            encoded,
            &format!("v1a,{encoded}"),
            &format!("v2,{encoded}"),
            "",
        ] {
            assert_eq!(verify(none), Err(WebhookError::BadSignature), "{none}");
        }
    }
}
