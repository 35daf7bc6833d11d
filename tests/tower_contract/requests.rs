//! Requests and responses of the ecosystem.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitState, DeliveryLayers, HttpStatus, Observe,
    RateLimitConfig, RateLimitLayer, RetryConfig, RetryLayer, Verdict, delivery_stack,
};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

/// Answers 503 to the first two calls.
fn recovers<B: Send + 'static>(
    calls: &Arc<AtomicU32>,
) -> impl tower::Service<Request<B>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    let calls = Arc::clone(calls);
    service_fn(move |request: Request<B>| {
        let status = if calls.fetch_add(1, Ordering::Relaxed) < 2 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        async move {
            let seen = request.headers().len();
            Ok::<_, BoxError>(
                Response::builder().status(status).body(format!("{} {seen}", request.uri())).unwrap(),
            )
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_of_http_is_sent_again_as_it_is() {
    let calls = Arc::default();
    let service =
        RetryLayer::new(RetryConfig::default(), HttpStatus::default()).unwrap().layer(recovers(&calls));
    let request =
        Request::post("/orders").header("a", "b").body(Full::new(Bytes::from_static(b"body"))).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "/orders 1"));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_again_is_tried_once() {
    let calls = Arc::default();
    let layer = RetryLayer::new(RetryConfig::default(), HttpStatus::default()).unwrap();
    let layer = layer.replay_with(|_: &Request<axum::body::Body>| None);
    let response =
        layer.layer(recovers(&calls)).oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
    assert_eq!((response.status(), calls.load(Ordering::Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1));
}

#[derive(Clone)]
struct Nobody;

impl<T, E> Observe<T, E> for Nobody {
    fn attempt(&self, _: Duration, _: Result<&T, &E>) {}
}

#[tokio::test(start_paused = true)]
async fn the_delivery_stack_takes_requests_of_http() {
    let calls = Arc::default();
    let status = HttpStatus::default();
    let layers = DeliveryLayers {
        retry: RetryLayer::new(RetryConfig::default(), status).unwrap(),
        circuit_breaker: CircuitBreakerLayer::new(CircuitBreakerConfig::default(), status).unwrap(),
        rate_limit: RateLimitLayer::new(RateLimitConfig::default(), status).unwrap(),
        observer: Nobody,
        timeout: Duration::from_secs(5),
    };
    let service = delivery_stack::<_, _, BoxError, _, _, _>(layers, recovers(&calls));
    let response = service.oneshot(Request::new(Bytes::new())).await.unwrap();
    assert_eq!((response.status(), calls.load(Ordering::Relaxed)), (StatusCode::OK, 3));
}

#[tokio::test]
async fn a_closure_classifies() {
    let classify = |result: Result<&u32, &BoxError>| match result {
        Ok(0..10) => Verdict::Success,
        _ => Verdict::Failed { retry_after: None },
    };
    let config = CircuitBreakerConfig::default().window(1).min_calls(1);
    let breaker = CircuitBreakerLayer::new(config, classify).unwrap();
    let limiter = RateLimitLayer::new(RateLimitConfig::default(), classify).unwrap();
    let handle = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(breaker)
        .layer(limiter)
        .service(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) }));
    service.clone().oneshot(9).await.unwrap();
    assert_eq!(handle.state(), CircuitState::Closed);
    service.clone().oneshot(10).await.unwrap();
    assert_eq!(handle.state(), CircuitState::Open);
}
