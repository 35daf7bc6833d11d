//! Each way in which a request can fail without an answer, over real sockets, as the error kind that a
//! person reads. Answers are in `src/api/answer.rs`.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, CircuitState, HttpStatus};
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{Error, ErrorKind, Event, PostHog};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

async fn get(client: reqwest::Client, url: &str) -> Error {
    let result = async { client.get(url).send().await?.error_for_status()?.bytes().await }.await;
    result.unwrap_err().into()
}

async fn get_from(server: &FakePostHog, reply: Reply) -> Error {
    server.always(reply);
    let client = reqwest::Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
    get(client, &format!("{}/flags/?token=secret", server.url())).await
}

fn assert_reads(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(error.retry_after(), None);
    let mut texts = vec![error.to_string(), format!("{error:?}")];
    let mut cause = error.source();
    assert!(cause.is_some(), "a cause");
    while let Some(next) = cause {
        texts.push(next.to_string());
        cause = next.source();
    }
    assert!(texts.iter().all(|text| !text.contains("secret") && !text.contains("/flags")), "{texts:?}");
    // The client may be that of another API.
    assert!(texts.iter().all(|text| !text.to_lowercase().contains("posthog")), "{texts:?}");
}

#[tokio::test]
async fn connection_refused() {
    let server = FakePostHog::start();
    server.refuse();
    assert_reads(&get_from(&server, Reply::normal()).await, ErrorKind::Connect);
}

struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(std::future::ready(Err::<Addrs, _>("no such name".into())))
    }
}

#[tokio::test]
async fn name_not_resolved() {
    let client = reqwest::Client::builder().dns_resolver(Arc::new(NoNames)).build().unwrap();
    assert_reads(&get(client, "http://nowhere.invalid/flags?secret").await, ErrorKind::Dns);
}

#[tokio::test]
async fn tls_to_a_server_that_speaks_plain_http() {
    let server = FakePostHog::start();
    let url = server.url().replace("http://", "https://");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    assert_reads(&get(client, &format!("{url}/flags?secret")).await, ErrorKind::Tls);
}

#[tokio::test]
async fn tls_that_the_server_hangs_up_on() {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 2048];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut hello).await;
        }
    });
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    assert_reads(&get(client, &format!("https://{address}/flags?secret")).await, ErrorKind::Tls);
}

#[tokio::test]
async fn failures_on_an_open_connection() {
    let server = FakePostHog::start();
    for (reply, kind) in [
        (Reply::hang(), ErrorKind::Timeout),
        (Reply::hang_after_headers(), ErrorKind::Timeout),
        (Reply::close(), ErrorKind::ConnectionLost),
        (Reply::reset(), ErrorKind::ConnectionLost),
        (Reply::reset_mid_body(), ErrorKind::TruncatedResponse),
        (Reply::truncated_body(), ErrorKind::TruncatedResponse),
    ] {
        assert_reads(&get_from(&server, reply.clone()).await, kind);
    }
}

/// Through the layers too, whatever the other API answers.
#[tokio::test]
async fn an_error_of_another_api_does_not_name_posthog() {
    let server = FakePostHog::start();
    let config = CircuitBreakerConfig::default().window(1).min_calls(1);
    let breaker = CircuitBreakerLayer::new(config, HttpStatus::default()).unwrap();
    let client = reqwest::Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
    let stack = tower::ServiceBuilder::new().layer(breaker).map_err(Error::from).service(client);
    let call = async || {
        let request = reqwest::Request::new(reqwest::Method::GET, server.url().parse().unwrap());
        tower::ServiceExt::oneshot(stack.clone(), request).await.unwrap_err()
    };
    server.refuse();
    let (refused, rejected) = (call().await, call().await);
    assert_eq!((refused.kind(), rejected.kind()), (ErrorKind::Connect, ErrorKind::CircuitOpen));
    let timeout: tower::BoxError = Box::new(tower::timeout::error::Elapsed::new());
    for error in [refused, rejected, Error::from(timeout)] {
        let texts = format!("{error} {error:?} {:?}", error.source());
        assert!(!texts.to_lowercase().contains("posthog"), "{texts}");
    }
    for status in [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503] {
        let error = get_from(&server, Reply::status(status)).await;
        let texts = format!("{error} {error:?} {:?}", error.source());
        assert!(!texts.to_lowercase().contains("posthog"), "{texts}");
    }
}

/// A server that closes as soon as it has seen how large the body is: the client may never see its 413.
async fn server_that_hangs_up_on_bodies() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut start = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut start).await;
            let _ = stream.set_zero_linger();
        }
    });
    address
}

#[tokio::test]
async fn a_large_body_that_is_cut_off_is_too_large_and_a_small_one_is_not() {
    let host = format!("http://{}", server_that_hangs_up_on_bodies().await);
    let posthog =
        PostHog::builder(FakePostHog::TOKEN).host(host).gzip(false).event_bytes(10_000_000).build().unwrap();
    let mut large = Event::new("large", "u");
    large.insert_prop("filler", "x".repeat(4_000_000)).unwrap();
    let failed_as = async |kind| {
        while posthog.health().last_error.is_none_or(|error| error.kind != kind) {
            tokio::task::yield_now().await;
        }
    };
    posthog.capture(large);
    failed_as(ErrorKind::TooLarge).await;
    posthog.capture(Event::new("small", "u"));
    failed_as(ErrorKind::ConnectionLost).await;
    assert_eq!(posthog.stats().queued, 2, "nothing is accepted, so nobody is blamed");
}

#[tokio::test]
async fn a_reverse_proxys_path_is_kept() {
    let server = FakePostHog::start();
    let host = format!("{}/ingest/", server.url());
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(host).build().unwrap();
    posthog.health_check().await;
    posthog.capture(Event::new("e", "u"));
    posthog.shutdown(Duration::from_millis(500)).await;
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/ingest/flags/", "/ingest/batch/"]);
}

async fn deliver_one_by_one(posthog: &PostHog, events: usize) {
    for _ in 0..events {
        posthog.capture(Event::new("e", "u"));
        posthog.flush().await.unwrap();
    }
}

/// A load balancer closes connections that were idle for a while, and the next request finds that out.
#[tokio::test]
async fn a_reused_connection_that_dies_counts_for_nothing() {
    for dies in [Reply::close(), Reply::reset()] {
        let server = FakePostHog::start();
        for _ in 0..10 {
            server.batch().then(Reply::normal()).then(dies.clone()).then(Reply::normal());
        }
        let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build().unwrap();
        deliver_one_by_one(&posthog, 20).await;
        let health = posthog.health();
        assert!(health.is_healthy() && health.last_error.is_none(), "{health}");
        assert_eq!(posthog.circuit_breaker().unwrap().state(), CircuitState::Closed);
        assert_eq!(posthog.stats().delivered, 20);
        // Every second event met a dead connection, and was sent once more.
        assert_eq!((server.request_count(Route::Batch), server.distinct()), (30, 20));
    }
}

/// Only one more request, within the time of the attempt, and its result is the one that counts.
#[tokio::test]
async fn a_new_connection_that_dies_is_a_failure() {
    for (reply, kind) in [
        (Reply::reset(), ErrorKind::ConnectionLost),
        (Reply::hang(), ErrorKind::Timeout),
        (Reply::status(503), ErrorKind::Server),
    ] {
        let server = FakePostHog::start();
        server.batch().then(Reply::normal()).then(Reply::reset()).then(reply);
        let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
        let posthog = builder.request_timeout(Duration::from_millis(500)).build().unwrap();
        deliver_one_by_one(&posthog, 2).await;
        assert_eq!(posthog.health().last_error.unwrap().kind, kind);
        assert_eq!((server.request_count(Route::Batch), server.distinct()), (4, 2));
    }
    let server = FakePostHog::start();
    server.batch().then(Reply::reset());
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build().unwrap();
    deliver_one_by_one(&posthog, 1).await;
    assert_eq!(posthog.health().last_error.unwrap().kind, ErrorKind::ConnectionLost);
    assert_eq!(server.request_count(Route::Batch), 2);
}

/// A large body on a connection that dies is not too large for the server.
#[tokio::test]
async fn only_a_new_connection_tells_that_a_body_is_too_large() {
    let server = FakePostHog::start();
    server.batch().then(Reply::normal()).then(Reply::reset());
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).gzip(false).build().unwrap();
    deliver_one_by_one(&posthog, 1).await;
    for _ in 0..10 {
        let mut event = Event::new("large", "u");
        event.insert_prop("filler", "x".repeat(70_000)).unwrap();
        posthog.capture(event);
    }
    posthog.flush().await.unwrap();
    assert_eq!((server.request_count(Route::Batch), server.distinct()), (3, 11), "no batch was halved");
    assert!(posthog.health().last_error.is_none());
}
