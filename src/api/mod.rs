//! PostHog's HTTP API: what is sent to it, and what its answers mean.
//!
//! One [`Api`] serves every caller, and each endpoint has a file with its request and the reading of its answer:
//!
//! | endpoint | file | asked by |
//! |---|---|---|
//! | `POST /batch/` and `POST /i/v0/ai/batch/` | [`capture_v0`] | delivery |
//! | `POST /i/v1/analytics/events` | [`capture_v1`] | delivery, the preflight |
//! | `POST /flags/` | [`flags`] | feature flags |
//! | `GET /flags/definitions/` | [`definitions`] | local evaluation of flags |
//! | `POST /flags/` with `disable_flags` | [`probe`] | the health check |
//!
//! An attempt is classified once, here, from status, headers, body and transport error: [`answer`] and [`http`] make it a
//! success or an [`Error`] of one [`ErrorKind`]. All others read that kind's row in the [table](crate::error), and
//! [`outcome`] reads it for delivery and for the layers. V1 says more: [`event_verdict`] has a verdict for each event, and
//! [`protocol`] chooses between V0 and V1.
//!
//! This module knows HTTP and knows nothing of queues.

mod answer;
mod batch;
mod capture_v0;
mod capture_v1;
mod compression;
mod definitions;
pub mod event_json;
mod event_verdict;
mod flags;
#[cfg(test)]
mod fuzz;
mod http;
mod outcome;
mod probe;
mod protocol;
#[cfg_attr(not(feature = "simulation"), path = "simulated/disabled.rs")]
pub mod simulated;
mod token_check;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};

use crate::credentials::{Credentials, ProjectToken};
use crate::rt::clock;
use crate::{Error, ErrorKind};

pub use answer::{Accepted, Answer, unexpected_json};
pub use batch::{Batch, BatchId, is_large_ai};
pub use capture_v0::ENVELOPE_BYTES;
#[cfg(feature = "preflight")]
pub use capture_v1::Refusal;
pub use compression::Compressors;
pub use event_verdict::{CaptureWarning, EventVerdict, Receipt};
pub use http::{Http, LONGEST_ANSWER, endpoint, is_cloud, is_loopback};
pub use outcome::{Outcome, PostHogClassifier};
pub use protocol::{CaptureProtocol, Current, ProtocolReason, Protocols, TRIAL_EVENTS};
pub use token_check::TokenChecks;

/// The API of one PostHog host, as one project. Each call of a method is one attempt.
#[derive(Debug)]
pub struct Api {
    pub http: Http,
    pub host: Url,
    pub tokens: Arc<Credentials<ProjectToken>>,
    /// A `Retry-After` beyond this is capped.
    pub longest_retry_after: Duration,
    /// `None` if bodies of batches are sent uncompressed.
    pub compressors: Option<Compressors>,
    /// Which capture protocol batches take.
    pub protocols: Arc<Protocols>,
    /// What is known about tokens with which a batch was refused.
    pub token_checks: TokenChecks,
}

impl Api {
    /// The token in use.
    ///
    /// # Errors
    ///
    /// `Unauthorized` while a provider has not supplied a token yet: no token is as good as a refused one.
    fn token(&self) -> Result<ProjectToken, Error> {
        self.tokens.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))
    }

    /// Posts JSON and reads up to `longest` bytes of the answer.
    async fn post(&self, path: &str, query: &str, body: String, longest: usize) -> Result<Answer, Error> {
        let body = Bytes::from(body);
        self.http.send(|| ready(Ok(self.post_request(path, Some(query), body.clone()))), longest).await
    }

    fn post_request(&self, path: &str, query: Option<&str>, json: Bytes) -> Request {
        let mut request = Request::new(Method::POST, endpoint(&self.host, path, query));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(json.into());
        request
    }

    /// The body of a success. An error does not show `secret`.
    fn body_of(&self, answer: Answer, secret: &str) -> Result<Vec<u8>, Error> {
        answer.into_body(clock::wall(), self.longest_retry_after, secret)
    }
}
