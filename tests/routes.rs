//! Health over HTTP, through axum and as a bare tower service.

#[path = "support/client.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use posthog_health::routes::{HealthRoute, ReportBody};
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{Event, PostHog};
use serde_json::Value;
use support::{MS, builder, capture, reject, until};
use tokio::net::TcpListener;
use tower::ServiceExt;

async fn ask(route: HealthRoute, method: Method) -> Response<ReportBody> {
    // tonic's and hyper's bodies are as good as none.
    route.oneshot(Request::builder().method(method).body(()).unwrap()).await.unwrap()
}

async fn body(response: Response<ReportBody>) -> String {
    let mut body = Box::pin(response.into_body());
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn get(route: HealthRoute) -> (StatusCode, Value) {
    let response = ask(route, Method::GET).await;
    let status = response.status();
    (status, serde_json::from_str(&body(response).await).unwrap())
}

/// Guarantee 5: PostHog's outage does not unready the service.
#[tokio::test]
async fn degraded_is_ready_and_only_the_strict_route_says_503() {
    let server = FakePostHog::start();
    let posthog = builder(&server).probe_cache(MS(1)).build().unwrap();
    for (server_is_up, strict) in [(true, StatusCode::OK), (false, StatusCode::SERVICE_UNAVAILABLE)] {
        if !server_is_up {
            server.always(Reply::status(503));
            tokio::time::sleep(MS(2)).await;
        }
        let status = if server_is_up { "healthy" } else { "degraded" };
        let (code, report) = get(HealthRoute::readiness(&posthog)).await;
        assert_eq!((code, report["status"].as_str()), (StatusCode::OK, Some(status)));
        let (code, report) = get(HealthRoute::strict(&posthog)).await;
        assert_eq!((code, report["status"].as_str()), (strict, Some(status)));
    }
}

/// However long the probe may take: orchestrators take a slow readiness route for one that is down.
#[tokio::test(start_paused = true)]
async fn readiness_does_not_wait_for_a_posthog_that_hangs() {
    let server = FakePostHog::start();
    server.flags().always(Reply::hang());
    let posthog = builder(&server).probe_timeout(MS(3_600_000)).build().unwrap();
    let started = tokio::time::Instant::now();
    let (code, report) = get(HealthRoute::readiness(&posthog)).await;
    assert!(started.elapsed() < MS(1_000), "{:?}", started.elapsed());
    assert_eq!((code, report["status"].as_str()), (StatusCode::OK, Some("healthy")), "nothing is known yet");
    assert_eq!(report["posthog"].as_object().unwrap().len(), 0, "{report}");
}

#[tokio::test]
async fn liveness_asks_nobody() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).build().unwrap();
    assert_eq!(get(HealthRoute::liveness(&posthog)).await.0, StatusCode::OK);
    posthog.shutdown(MS(1)).await;
    assert_eq!(get(HealthRoute::liveness(&posthog)).await.0, StatusCode::OK);
    assert_eq!((server.requests().len(), server.connections_accepted()), (0, 0));
}

#[tokio::test]
async fn the_rollout_route_tells_the_verdict() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let (code, verdict) = get(HealthRoute::rollout(&posthog)).await;
    assert_eq!((code, &verdict["verdict"]), (StatusCode::OK, &"hold".into()));
    assert_eq!(verdict["reasons"][0]["code"], "too_little_traffic");
    assert_eq!(verdict["reasons"][0]["detail"], "0 attempts are too few to judge by: 20 needed");
}

#[tokio::test]
async fn answers_are_json_and_not_stored_and_head_has_no_body() {
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    for route in [
        HealthRoute::readiness(&posthog),
        HealthRoute::strict(&posthog),
        HealthRoute::liveness(&posthog),
        HealthRoute::rollout(&posthog),
    ] {
        let (get, head) = (ask(route.clone(), Method::GET).await, ask(route.clone(), Method::HEAD).await);
        assert_eq!(get.status(), head.status());
        assert_eq!(get.headers(), head.headers());
        assert_eq!(get.headers()["content-type"], "application/json");
        assert_eq!(get.headers()["cache-control"], "no-store");
        let length = get.headers()["content-length"].to_str().unwrap().to_owned();
        assert_eq!(get.body().size_hint().exact().unwrap().to_string(), length);
        assert_eq!(body(get).await.len().to_string(), length);
        assert_eq!(body(head).await, "");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let refusal = ask(route.clone(), method).await;
            assert_eq!(refusal.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(refusal.headers()["allow"], "GET, HEAD");
            assert_eq!(body(refusal).await, "");
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_event_is_in_it() {
    let server = FakePostHog::start();
    server.reply_to_events_named("s3cret-event", Reply::status(400).body("s3cret-property"));
    let posthog = builder(&server).build().unwrap();
    let mut event = Event::new("s3cret-event", "s3cret-person");
    event.insert_prop("s3cret-key", "s3cret-property").unwrap();
    reject(&posthog, event).await;
    server.batch().always(Reply::status(503).body(FakePostHog::TOKEN));
    capture(&posthog, 100);
    until(|| !posthog.alerts().is_empty()).await;
    for route in [
        HealthRoute::readiness(&posthog),
        HealthRoute::strict(&posthog),
        HealthRoute::liveness(&posthog),
        HealthRoute::rollout(&posthog),
    ] {
        let text = body(ask(route, Method::GET).await).await;
        for secret in [FakePostHog::TOKEN, &FakePostHog::TOKEN[4..], "s3cret", "127.0.0.1", "http"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    posthog.shutdown(MS(1)).await;
}

/// As axum mounts it, over a real socket: hyper's own rules for HEAD and lengths are kept.
#[tokio::test]
async fn axum_serves_it_as_it_is() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let app = Router::new().route_service("/readyz", HealthRoute::readiness(&posthog));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = client.get(&url).send().await.unwrap();
    assert_eq!(get.status(), 200);
    let length = get.headers()["content-length"].clone();
    let report: Value = serde_json::from_slice(&get.bytes().await.unwrap()).unwrap();
    assert_eq!(report["status"], "healthy");
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-type"].as_bytes()),
        (200, &b"application/json"[..])
    );
    assert_eq!(head.headers()["content-length"].len(), length.len());
    assert_eq!(client.post(&url).send().await.unwrap().status(), 405);
}

/// Guarantee 6: however many ask, PostHog is asked once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_parallel_requests_cost_posthog_one_probe() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let ready = Arc::new(AtomicUsize::new(0));
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let route = if n % 2 == 0 { HealthRoute::readiness(&posthog) } else { HealthRoute::strict(&posthog) };
        let ready = Arc::clone(&ready);
        asking.spawn(async move {
            ready.fetch_add(usize::from(ask(route, Method::GET).await.status() == 200), Ordering::Relaxed);
        });
    }
    asking.join_all().await;
    assert_eq!(ready.load(Ordering::Relaxed), 1_000);
    assert_eq!(server.request_count(Route::Flags), 1);
    assert_eq!(server.billable_flag_requests(), 0);
}
