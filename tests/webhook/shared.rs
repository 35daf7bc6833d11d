//! A secret in a header, for destinations that do not sign.

use http::{HeaderMap, HeaderName};
use posthog_health::webhook::{SharedSecret, WebhookError};

const KEY: &str = "0123456789abcdef";

fn with(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("x-webhook-secret", value.parse().unwrap());
    }
    headers
}

#[test]
fn one_of_the_secrets_opens_and_nothing_else() {
    let shared = SharedSecret::new("X-Webhook-Secret", &format!(" {KEY}\n"))
        .unwrap()
        .or("Bearer another one")
        .unwrap();
    let verify = |values: &[&str]| shared.verify(&with(values));
    assert_eq!(verify(&[KEY]), Ok(()));
    assert_eq!(verify(&["Bearer another one"]), Ok(()));
    for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "\u{e4}"] {
        let error = verify(&[wrong]).unwrap_err();
        assert!(
            matches!(error, WebhookError::WrongSecret | WebhookError::MalformedHeader(_)),
            "{wrong}: {error}"
        );
    }
    let name = HeaderName::from_static("x-webhook-secret");
    assert_eq!(verify(&[]), Err(WebhookError::MissingHeader(name.clone())));
    assert_eq!(verify(&[KEY, KEY]), Err(WebhookError::MalformedHeader(name)));
}

#[test]
fn what_cannot_work_is_told_and_never_repeated() {
    assert_eq!(SharedSecret::new("x secret", KEY).unwrap_err().field(), "webhook header");
    for (secret, problem) in [
        ("", "0 characters"),
        ("  secretsecret  ", "12 characters"),
        ("secretsecret\nsecretsecret", "control"),
        ("secretsecret\u{e9}secret", "non-ASCII"),
    ] {
        let error = SharedSecret::new("x-webhook-secret", secret).unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
        assert!(!error.to_string().contains("secretsecret"), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", SharedSecret::new("x-webhook-secret", KEY).unwrap());
    assert_eq!(shown, r#"SharedSecret { header: "x-webhook-secret", .. }"#);
}
