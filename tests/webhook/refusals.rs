//! Who is not let in, and what they hear.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use posthog_health::webhook::{SharedSecret, WebhookLayer, WebhookSecret};
use tower::{Layer, ServiceExt, service_fn};

use super::layer::layer;
use super::{BODY, OTHER, headers, now, secret, signed};

/// A body in pieces, of no length that is known before.
struct Pieces(VecDeque<io::Result<&'static [u8]>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.pop_front();
        Poll::Ready(piece.map(|piece| piece.map(|bytes| Frame::data(Bytes::from_static(bytes)))))
    }
}

/// Six bytes that nobody may read.
struct Unread;

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        panic!("the body is read, and need not be")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(6)
    }
}

/// What it answers. A handler that is called answers 204.
async fn answer<B>(layer: WebhookLayer, headers: HeaderMap, body: B) -> (u16, String)
where
    B: http_body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    let handler = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, io::Error>(
            Response::builder().status(StatusCode::NO_CONTENT).body(Full::<Bytes>::default()).unwrap(),
        )
    });
    let mut request = Request::new(body);
    *request.headers_mut() = headers;
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn pieces(pieces: &[&'static [u8]]) -> Pieces {
    Pieces(pieces.iter().copied().map(Ok).collect())
}

#[tokio::test]
async fn headers_are_checked_before_the_body_is_read() {
    let sign = |at| secret().sign("a", at, BODY);
    let mut unsigned = signed("a", now(), BODY);
    unsigned.remove("webhook-signature");
    for (headers, expected) in [
        (HeaderMap::new(), (401, "missing_header")),
        (unsigned, (401, "missing_header")),
        (headers("a.b", now(), &sign(now())), (400, "malformed_header")),
        (headers("a", now() - 400, &sign(now() - 400)), (401, "too_old")),
        (headers("a", now() + 400, &sign(now() + 400)), (401, "too_new")),
    ] {
        assert_eq!(answer(layer(), headers, Unread).await, (expected.0, expected.1.to_owned()));
    }
}

#[tokio::test]
async fn only_what_is_signed_with_our_secret_is_handled() {
    let other = WebhookSecret::parse(OTHER).unwrap();
    for (headers, body, expected) in [
        (signed("a", now(), BODY), BODY, (204, "")),
        (signed("b", now(), BODY), b"{}", (401, "bad_signature")),
        (headers("c", now(), &secret().sign("b", now(), BODY)), BODY, (401, "bad_signature")),
        (headers("d", now(), &other.sign("d", now(), BODY)), BODY, (401, "bad_signature")),
        (headers("e", now(), "v1,"), BODY, (401, "bad_signature")),
    ] {
        assert_eq!(answer(layer(), headers, pieces(&[body])).await, (expected.0, expected.1.to_owned()));
    }
}

#[tokio::test]
async fn a_body_may_come_in_pieces() {
    let signed = signed("a", now(), b"one two");
    assert_eq!(answer(layer(), signed, pieces(&[b"one", b"", b" t", b"wo"])).await.0, 204);
}

#[tokio::test]
async fn a_body_is_no_longer_than_allowed() {
    for (body, expected) in [
        (pieces(&[b"12345"]), (204, "")),
        (pieces(&[b"123", b"45"]), (204, "")),
        (pieces(&[b"123", b"456"]), (413, "body_too_large")),
        (pieces(&[b"123456"]), (413, "body_too_large")),
    ] {
        let text: Vec<u8> = body.0.iter().flat_map(|piece| piece.as_ref().unwrap().iter().copied()).collect();
        let headers = signed("a", now(), &text);
        assert_eq!(answer(layer().body_limit(5), headers, body).await, (expected.0, expected.1.to_owned()));
    }
    // Whose length is known is not read at all.
    let known = answer(layer().body_limit(5), signed("a", now(), BODY), Unread).await;
    assert_eq!(known, (413, "body_too_large".to_owned()));
    // By default 2 MiB are allowed.
    let large = vec![b'x'; 2 * 1024 * 1024 + 1];
    for (body, expected) in [(&large[1..], 204), (&large[..], 413)] {
        let whole = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {});
        assert_eq!(answer(layer(), signed("a", now(), body), whole).await.0, expected);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_handled() {
    let body = Pieces([Ok(BODY), Err(io::Error::other("reset"))].into());
    assert_eq!(answer(layer(), signed("a", now(), BODY), body).await, (400, "body_unreadable".to_owned()));
}

#[tokio::test]
async fn a_shared_secret_opens_as_often_as_one_likes() {
    let layer =
        WebhookLayer::shared_secret(SharedSecret::new("x-webhook-secret", "0123456789abcdef").unwrap());
    let with = |value: &'static str| {
        HeaderMap::from_iter([("x-webhook-secret".parse().unwrap(), value.parse().unwrap())])
    };
    for _ in 0..2 {
        assert_eq!(answer(layer.clone(), with("0123456789abcdef"), pieces(&[BODY])).await.0, 204);
    }
    let wrong = answer(layer.clone(), with("0123456789abcdeX"), Unread).await;
    assert_eq!(wrong, (401, "wrong_secret".to_owned()));
    assert_eq!(answer(layer.clone(), HeaderMap::new(), Unread).await, (401, "missing_header".to_owned()));
    let large =
        answer(layer.body_limit(5).replay_ids(1), with("0123456789abcdef"), pieces(&[b"123456"])).await;
    assert_eq!(large, (413, "body_too_large".to_owned()));
}
