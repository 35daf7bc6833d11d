//! Health over HTTP: tower services for any server that uses [`http`], mounted at paths of your choice.
//!
//! | route | answers | for |
//! |---|---|---|
//! | [`HealthRoute::readiness`] | 200 with the report, degraded or not | readiness probes: a PostHog outage must not make the service unready |
//! | [`HealthRoute::strict`] | 200 when healthy, 503 when degraded | deployment gates |
//! | [`HealthRoute::liveness`] | 200 as long as the process answers; sends no request | liveness probes |
//! | [`HealthRoute::rollout`] | 200 with the verdict on the rollout | scripts and controllers that watch a canary |
//!
//! The answers are JSON, with `Cache-Control: no-store`. HEAD gets the headers alone, and other methods get 405. The answers
//! contain no secret. While PostHog rejects events, they quote the beginning of its answer, which may repeat a part of an
//! event.
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
/// A route holds a clone of the client, so dropping your handles does not end the client while a route is mounted.
///
/// # Panics
///
/// Readiness and strict panic outside a tokio runtime.
#[derive(Clone, Debug)]
pub struct HealthRoute {
    posthog: PostHog,
    check: Check,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    Readiness,
    Strict,
    Liveness,
    Rollout,
}

impl HealthRoute {
    /// Answers 200 with the report of [`health_check`](PostHog::health_check).
    ///
    /// It waits at most 0.8 s for PostHog, because Kubernetes times out after 1 s by default. Then the report is based on
    /// the latest finding, and the answer to the pending probe serves the next call.
    pub fn readiness(posthog: &PostHog) -> Self {
        Self::new(posthog, Check::Readiness)
    }

    /// Answers with the same report, with 503 when it is degraded.
    pub fn strict(posthog: &PostHog) -> Self {
        Self::new(posthog, Check::Strict)
    }

    /// Answers 200 with the report of [`health`](PostHog::health), which sends no request.
    pub fn liveness(posthog: &PostHog) -> Self {
        Self::new(posthog, Check::Liveness)
    }

    /// Answers 200 with the [verdict](PostHog::rollout_verdict) on the rollout. The status is 200 in all cases because
    /// proxies may replace the bodies of errors.
    pub fn rollout(posthog: &PostHog) -> Self {
        Self::new(posthog, Check::Rollout)
    }

    fn new(posthog: &PostHog, check: Check) -> Self {
        Self { posthog: posthog.clone(), check }
    }

    async fn answer(self, method: Method) -> Response<ReportBody> {
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = Response::new(ReportBody(None));
            *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let (status, json) = match self.check {
            Check::Readiness => {
                (StatusCode::OK, json(&self.posthog.health_check_within(READINESS_LIMIT).await))
            }
            Check::Strict => {
                let report = self.posthog.health_check().await;
                (strict_status(&report), json(&report))
            }
            Check::Liveness => (StatusCode::OK, json(&self.posthog.health())),
            Check::Rollout => (StatusCode::OK, json(&self.posthog.rollout_verdict())),
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

/// Less than the 1 s that Kubernetes waits for a probe by default.
const READINESS_LIMIT: Duration = Duration::from_millis(800);

fn strict_status(report: &HealthReport) -> StatusCode {
    if report.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Every field is a number, a string or a list of them, so serialization cannot fail.
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

/// The body of an answer: a single frame, or none.
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
