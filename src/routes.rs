//! Health over HTTP: tower services for any server that speaks [`http`], to be mounted where you like.
//!
//! | route | answers | for |
//! |---|---|---|
//! | [`HealthRoute::readiness`] | 200 with the report, degraded or not | readiness probes: PostHog's outage must not unready the service |
//! | [`HealthRoute::strict`] | 200 when healthy, 503 when degraded | gates of a deployment |
//! | [`HealthRoute::liveness`] | 200 as long as the process answers; asks nobody | liveness probes |
//! | [`HealthRoute::rollout`] | 200 with the verdict on the rollout | whoever watches a canary |
//!
//! The answers are JSON and not to be stored; HEAD gets the head alone; other methods get 405. There is no secret
//! in them and no event's content.
//!
//! With axum:
//!
//! ```
//! # use axum::Router;
//! use posthog_health::PostHog;
//! use posthog_health::routes::HealthRoute;
//!
//! # fn router(posthog: &PostHog) -> Router {
//! Router::new()
//!     .route_service("/readyz", HealthRoute::readiness(posthog))
//!     .route_service("/readyz/strict", HealthRoute::strict(posthog))
//!     .route_service("/livez", HealthRoute::liveness(posthog))
//!     .route_service("/rollout", HealthRoute::rollout(posthog))
//! # }
//! ```

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tower::Service;

use crate::{HealthReport, PostHog};

/// Answers with the health of a [`PostHog`]; see the [module](self).
///
/// It holds a clone: the client does not end by being dropped as long as a route is mounted.
///
/// # Panics
///
/// Readiness and strict, when called outside a tokio runtime.
#[derive(Clone, Debug)]
pub struct HealthRoute {
    posthog: PostHog,
    question: Question,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Ready,
    ReadyStrictly,
    Alive,
    Rollout,
}

impl HealthRoute {
    /// The report of [`health_check`](PostHog::health_check), always with 200. A PostHog that does not answer is not
    /// waited for longer than 0.8 s, since Kubernetes gives up after 1 s by default: then the report is made of what is
    /// known, and what PostHog answers is for the next call.
    pub fn readiness(posthog: &PostHog) -> Self {
        Self::new(posthog, Question::Ready)
    }

    /// The same report, with 503 when it is degraded.
    pub fn strict(posthog: &PostHog) -> Self {
        Self::new(posthog, Question::ReadyStrictly)
    }

    /// The report of [`health`](PostHog::health), always with 200: it looks only at this process.
    pub fn liveness(posthog: &PostHog) -> Self {
        Self::new(posthog, Question::Alive)
    }

    /// The [verdict](PostHog::rollout_verdict) on the rollout, always with 200: proxies hide the bodies of errors.
    pub fn rollout(posthog: &PostHog) -> Self {
        Self::new(posthog, Question::Rollout)
    }

    fn new(posthog: &PostHog, question: Question) -> Self {
        Self { posthog: posthog.clone(), question }
    }

    async fn answer(self, method: Method) -> Response<ReportBody> {
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = Response::new(ReportBody(None));
            *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let (status, json) = match self.question {
            Question::Ready => (StatusCode::OK, json(&self.posthog.health_check_within(READY_WITHIN).await)),
            Question::ReadyStrictly => {
                let report = self.posthog.health_check().await;
                (strict_status(&report), json(&report))
            }
            Question::Alive => (StatusCode::OK, json(&self.posthog.health())),
            Question::Rollout => (StatusCode::OK, json(&self.posthog.rollout_verdict())),
        };
        let length = json.len();
        let mut response = Response::new(ReportBody((method == Method::GET).then_some(json)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// Less than the second that Kubernetes gives a probe by default.
const READY_WITHIN: Duration = Duration::from_millis(800);

fn strict_status(report: &HealthReport) -> StatusCode {
    if report.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Numbers, words and lists of them: nothing in it can fail to serialize.
fn json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).unwrap_or_default().into()
}

impl<B> Service<Request<B>> for HealthRoute {
    type Response = Response<ReportBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (route, method) = (self.clone(), request.method().clone());
        Box::pin(async move { Ok(route.answer(method).await) })
    }
}

/// The body of an answer: all of it at once, or nothing.
#[derive(Debug)]
pub struct ReportBody(Option<Bytes>);

impl Body for ReportBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|json| Ok(Frame::data(json))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |json| json.len() as u64))
    }
}
