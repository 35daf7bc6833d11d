//! Requests of arbitrary senders.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolero::check;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use tokio_test::block_on;

use super::secret::WebhookSecret;
use super::shared::SharedSecret;
use super::signature::encode;
use super::validator::Validator;
use super::verifier::WebhookVerifier;
use crate::fuzz::{ROUNDS, SECRET, fields, told};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOLERANCE: Duration = Duration::from_secs(300);
const NOW: u64 = 1_700_000_000;

fn header(headers: &mut HeaderMap, name: &'static str, value: &[u8]) {
    headers.extend(
        HeaderValue::from_bytes(value).ok().map(|value| (http::HeaderName::from_static(name), value)),
    );
}

/// The signed id, time and body, another signature before theirs, and the id, time and body that arrive instead, if not empty.
#[test]
fn signed() {
    let (verifier, key) = (WebhookVerifier::new(KEY).unwrap(), WebhookSecret::parse(KEY).unwrap());
    check!(name = "signed").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [id, time, body, other, id_now, time_now, body_now] = fields(input);
        let text = |field| std::str::from_utf8(field).unwrap_or("odd");
        let tag = |id, time, body| encode(key.tag(text(id), text(time), body).as_ref());
        let signature = [other, b" ", tag(id, time, body).as_bytes()].concat();
        let [id_now, time_now, body_now] = [(id_now, id), (time_now, time), (body_now, body)]
            .map(|(now, signed)| if now.is_empty() { signed } else { now });

        let mut headers = HeaderMap::new();
        header(&mut headers, "webhook-id", id_now);
        header(&mut headers, "webhook-timestamp", time_now);
        header(&mut headers, "webhook-signature", &signature);
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let is_unchanged = id_now == id && time_now == time && body_now == body;
        match verifier.verify(&headers, body_now, now) {
            Ok(verified) => {
                assert!(
                    signature
                        .split(|byte| *byte == b' ')
                        .any(|one| one == tag(id_now, time_now, body_now).as_bytes())
                );
                assert!(is_unchanged, "signed for something else");
                let age = now.duration_since(verified.timestamp()).unwrap_or_else(|ahead| ahead.duration());
                assert!(age <= TOLERANCE && verified.id().as_bytes() == id_now);
            }
            Err(error) => {
                let is_plain =
                    (1..=256).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric());
                let in_time = time == NOW.to_string().as_bytes();
                let is_text = other.iter().all(|byte| (b' '..=b'~').contains(byte));
                assert!(!(is_unchanged && is_plain && in_time && is_text), "{error}");
            }
        }
    });
}

/// An id, whether it is signed, and a body.
#[test]
fn validator() {
    const LIMIT: usize = 64;
    let key = WebhookSecret::parse(KEY).unwrap();
    check!(name = "validator").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [id, is_signed, body] = fields(input);
        let id = std::str::from_utf8(id).unwrap_or("odd");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = if is_signed.is_empty() { "v1,".to_owned() } else { key.sign(id, seconds, body) };
        let request = || {
            let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
            header(request.headers_mut(), "webhook-id", id.as_bytes());
            header(request.headers_mut(), "webhook-timestamp", seconds.to_string().as_bytes());
            header(request.headers_mut(), "webhook-signature", signature.as_bytes());
            request
        };
        let verifier = WebhookVerifier::new(KEY).unwrap();
        let mut validator = Validator::signed(verifier).with_replay_ids(10);
        validator.body_limit = LIMIT;
        let Ok(Some((admitted, in_flight))) = block_on(validator.admit(request())) else { return };
        assert!(!is_signed.is_empty() && body.len() <= LIMIT);
        assert_eq!(block_on(admitted.into_body().collect()).unwrap().to_bytes(), body);
        assert!(block_on(validator.admit(request())).is_err(), "while it is in flight");
        validator.handled(in_flight.unwrap());
        assert!(matches!(block_on(validator.admit(request())), Ok(None)), "twice");
    });
}

/// A shared secret, and up to two headers.
#[test]
fn shared() {
    check!(name = "shared").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [secret, first, second] = fields(input);
        let Ok(secret) = std::str::from_utf8(secret) else { return };
        let known = match SharedSecret::new("x-secret", secret) {
            Ok(known) => known,
            Err(error) => return assert!(secret.len() < 8 || !told(&error).contains(secret)),
        };
        let mut headers = HeaderMap::new();
        for given in [first, second].into_iter().filter(|given| !given.is_empty()) {
            headers.append(
                "x-secret",
                HeaderValue::from_bytes(given).unwrap_or(HeaderValue::from_static("odd")),
            );
        }
        let given: Vec<_> = headers.get_all("x-secret").iter().collect();
        let is_one = given.len() == 1 && given[0].as_bytes() == secret.trim().as_bytes();
        assert_eq!(known.verify(&headers).is_ok(), is_one);
    });
}

/// The text before and after a secret.
#[test]
fn secret() {
    check!(name = "secret").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [before, after] = fields(input).map(|field| std::str::from_utf8(field).unwrap_or("\u{e9}"));
        for text in
            [format!("{before}{SECRET}{after}"), format!("{before}k3yk3yk3yk3y{after}"), before.to_owned()]
        {
            match WebhookSecret::parse(&text) {
                Ok(secret) => {
                    let again = WebhookSecret::parse(&format!(" {text}\n")).unwrap();
                    assert_eq!(again.sign("id", NOW, b""), secret.sign("id", NOW, b""));
                    assert!(!format!("{secret:?}").contains("k3yk3y"));
                }
                Err(error) => assert!(!told(&error).contains("k3yk3y"), "{error}"),
            }
        }
    });
}
