//! The layer: what reaches the handler, and how often.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use posthog_health::webhook::{Verified, WebhookLayer, WebhookService, WebhookVerifier};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{BODY, SECRET, at, now, signed};

pub(crate) type Body = Full<Bytes>;

pub(crate) fn layer() -> WebhookLayer {
    WebhookLayer::new(WebhookVerifier::new(SECRET).unwrap())
}

pub(crate) fn request(headers: HeaderMap, body: &'static [u8]) -> Request<Body> {
    let mut request = Request::new(Bytes::from_static(body).into());
    *request.headers_mut() = headers;
    request
}

fn webhook(id: &str) -> Request<Body> {
    request(signed(id, now(), BODY), BODY)
}

/// Counts how often it is called, and answers with what `answer` says.
fn handler<F, A>(
    answer: F,
) -> (
    impl Service<Request<Body>, Response = Response<Body>, Error = &'static str, Future: Send> + Clone + Send,
    Arc<AtomicUsize>,
)
where
    F: Fn(usize) -> A + Clone + Send,
    A: Future<Output = Result<StatusCode, &'static str>> + Send,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request<Body>| {
        let answer = answer(counted.fetch_add(1, Ordering::SeqCst));
        async {
            let mut response = Response::new(Body::default());
            *response.status_mut() = answer.await?;
            Ok(response)
        }
    });
    (service, calls)
}

async fn status<S>(service: &WebhookService<S>, request: Request<Body>) -> Result<u16, &'static str>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = &'static str, Future: Send>
        + Clone
        + Send
        + 'static,
{
    service.clone().oneshot(request).await.map(|response| response.status().as_u16())
}

#[tokio::test]
async fn the_handler_gets_the_same_bytes_and_knows_the_id() {
    let echo = service_fn(async |request: Request<Body>| {
        let seen = request.extensions().get::<Verified>().unwrap();
        let (id, sent) = (seen.id().to_owned(), seen.timestamp());
        assert_eq!(request.headers()["webhook-id"], *id);
        assert_eq!(request.uri(), "/posthog?x=1");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(
            Response::builder().header("id", id).extension(sent).body(Body::from(body)).unwrap(),
        )
    });
    let sent = now();
    let mut request = request(signed("a", sent, b"\x00raw \xff"), b"\x00raw \xff");
    *request.uri_mut() = "/posthog?x=1".parse().unwrap();
    let response = layer().layer(echo).oneshot(request).await.unwrap();
    assert_eq!(
        (&response.headers()["id"], response.extensions().get()),
        (&"a".parse().unwrap(), Some(&at(sent)))
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), &b"\x00raw \xff"[..]);
}

#[tokio::test]
async fn what_was_handled_is_answered_200_and_not_handled_again() {
    let (handler, calls) = handler(async |_| Ok(StatusCode::ACCEPTED));
    let service = layer().layer(handler);
    assert_eq!(status(&service, webhook("a")).await, Ok(202));
    // PostHog's next attempt has another time and so another signature.
    let later = request(signed("a", now() - 2, BODY), BODY);
    assert_eq!(status(&service, later).await, Ok(200));
    assert_eq!(status(&service, webhook("b")).await, Ok(202));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// PostHog tries again after some of them, and would be told that it was handled.
#[tokio::test]
async fn what_failed_is_handled_when_it_comes_again() {
    for code in [500, 503, 429, 404, 302, 400] {
        let (handler, calls) = handler(move |call| async move {
            match call {
                0 => Ok(StatusCode::from_u16(code).unwrap()),
                1 => Err("the service failed"),
                _ => Ok(StatusCode::OK),
            }
        });
        let service = layer().layer(handler);
        assert_eq!(status(&service, webhook("a")).await, Ok(code));
        assert_eq!(status(&service, webhook("a")).await, Err("the service failed"));
        assert_eq!(status(&service, webhook("a")).await, Ok(200));
        assert_eq!(status(&service, webhook("a")).await, Ok(200));
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_copy_of_what_is_being_handled_is_asked_to_come_again() {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&end));
    let (handler, calls) = handler(move |_| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            Ok(StatusCode::OK)
        }
    });
    let service = layer().layer(handler);
    let first = tokio::spawn(service.clone().oneshot(webhook("a")));
    begun.notified().await;
    let copy = service.clone().oneshot(webhook("a")).await.unwrap();
    assert_eq!((copy.status().as_u16(), &copy.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(copy.into_body().collect().await.unwrap().to_bytes(), "under_way");
    end.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(status(&service, webhook("a")).await, Ok(200));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_copies_at_once_one_is_handled() {
    let layer = layer();
    for round in 0..50 {
        let (handler, calls) = handler(async |_| {
            tokio::task::yield_now().await;
            Ok(StatusCode::OK)
        });
        // Each with a service of its own, as routes have.
        let copies: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn(layer.clone().layer(handler.clone()).oneshot(webhook(&format!("a{round}"))))
            })
            .collect();
        for copy in copies {
            let status = copy.await.unwrap().unwrap().status();
            assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_handler_that_is_cancelled_has_not_handled_it() {
    let (handler, calls) = handler(async |call| {
        if call == 0 {
            std::future::pending::<()>().await;
        }
        Ok(StatusCode::OK)
    });
    let service = layer().layer(handler);
    let mut first = tokio_test::task::spawn(service.clone().oneshot(webhook("a")));
    tokio_test::assert_pending!(first.poll());
    assert_eq!((calls.load(Ordering::SeqCst), status(&service, webhook("a")).await), (1, Ok(503)));
    drop(first);
    assert_eq!(status(&service, webhook("a")).await, Ok(200));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_handler_that_panics_has_not_handled_it() {
    let (handler, calls) = handler(async |call| {
        assert_ne!(call, 0, "a panic that the test wants");
        Ok(StatusCode::OK)
    });
    let service = layer().layer(handler);
    assert!(tokio::spawn(service.clone().oneshot(webhook("a"))).await.unwrap_err().is_panic());
    assert_eq!(status(&service, webhook("a")).await, Ok(200));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn with_too_few_ids_the_oldest_is_handled_again() {
    let (handler, calls) = handler(async |_| Ok(StatusCode::OK));
    let service = layer().replay_ids(2).layer(handler);
    for (id, expected) in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("c", 3), ("a", 3), ("b", 4)] {
        assert_eq!(status(&service, webhook(id)).await, Ok(200));
        assert_eq!(calls.load(Ordering::SeqCst), expected, "{id}");
    }
}

/// Its clones are not ready, as those of a concurrency limit are not.
struct ReadyOnce(bool);

impl Clone for ReadyOnce {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Body>> for ReadyOnce {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(self.0, "called before it was ready");
        assert!(request.body().size_hint().exact().is_some());
        std::future::ready(Ok(Response::new(request.into_body())))
    }
}

#[tokio::test]
async fn it_calls_the_service_that_was_ready() {
    let mut service = layer().layer(ReadyOnce(false));
    for id in ["a", "b"] {
        let ready = ServiceExt::<Request<Body>>::ready(&mut service).await.unwrap();
        let response = ready.call(webhook(id)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}
