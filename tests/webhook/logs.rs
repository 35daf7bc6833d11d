//! What the log says of refusals: once an episode, and nothing secret.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

use super::layer::{layer, request};
use super::log::Log;
use super::{BODY, SECRET, headers, now, secret, signed};

#[tokio::test]
async fn each_kind_of_refusal_is_one_line_an_episode_without_secrets() {
    let (log, _guard) = Log::start(Level::TRACE);
    let lines = |level: &str| log.text().lines().filter(|line| line.contains(level)).count();

    let layer = layer().replay_ids(1);
    let handler = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, io::Error>(Response::new(Full::<Bytes>::default()))
    });
    // A service each, as routes have: the episode is the layer's.
    let send = async |headers: HeaderMap| {
        layer.layer(handler).oneshot(request(headers, BODY)).await.unwrap().status()
    };
    let signature = secret().sign("id-of-a", now(), BODY);
    let forged = headers("id-of-b", now(), &signature);
    for _ in 0..100 {
        assert_eq!(send(HeaderMap::new()).await, 401);
        assert_eq!(send(forged.clone()).await, 401);
    }
    assert_eq!((lines(" WARN "), lines(" DEBUG ")), (2, 198), "{}", log.text());

    for id in ["id-of-a", "id-of-a", "id-of-c", "id-of-d"] {
        assert_eq!(send(signed(id, now(), BODY)).await, 200);
    }
    assert_eq!((lines(" WARN "), lines(" DEBUG ")), (3, 199), "{}", log.text());

    let text = log.text();
    assert!(
        text.lines().all(|line| line.contains(" posthog_health::webhook: ")),
        "the documented target: {text}"
    );
    for line in
        ["no webhook-id header", "no signature matches", "webhook was handled before", "too few replay_ids"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    for secret in
        [&SECRET[6..], &signature[3..], &secret().sign("id-of-b", now(), BODY)[3..], "order placed", "id-of-"]
    {
        assert!(!text.contains(secret), "{text}");
    }
}
