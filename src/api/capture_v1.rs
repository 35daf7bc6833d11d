//! Capture V1: `POST {host}/i/v1/analytics/events`. The answer has a verdict for each event.
//!
//! The `error` tag in the body of a refusal is read before the status, because a proxy in front of PostHog uses the same
//! statuses and has no tag.

use std::future::ready;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderName, HeaderValue};
use serde::Deserialize;

use super::event_json::write_v1;
use super::event_verdict::{EventVerdict, read_verdicts};
use super::protocol::ProtocolReason;
use super::{Accepted, Answer, Api, Batch, BatchId, Compressors, LONGEST_ANSWER, Receipt};
use crate::credentials::ProjectToken;
use crate::rt::{clock, timestamp};
use crate::{Error, ErrorKind};

/// Why a batch has no receipt.
#[derive(Debug)]
pub enum Refusal {
    /// This host, or something on the way to it, does not speak V1. The error is for those who insist.
    NotV1(ProtocolReason, Error),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Api {
    /// Sends a batch by V1.
    pub async fn capture_v1(&self, batch: &Batch, token: &ProjectToken) -> Result<Receipt, Refusal> {
        let compressors = self.compressors.as_ref();
        let bearer = token.bearer()?;
        let request = || async {
            let body = batch.body_v1(compressors).await;
            let body = body.map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))?;
            let mut request = self.request_v1(bearer.clone(), batch.id, body)?;
            if compressors.is_some() {
                request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Ok(request)
        };
        let answer = self.http.send(request, longest_answer(batch.events.len())).await?;
        let read = answer.read_v1(batch, clock::wall(), self.longest_retry_after, token.expose());
        let receipt = match read {
            Ok(receipt) => receipt,
            Err(Refusal::Failed(error)) => return Err(self.attribute_v1(error, token).await),
            Err(refusal) => return Err(refusal),
        };
        let verdicts = receipt.verdicts.as_deref().unwrap_or_default();
        let are_all = |is: fn(&EventVerdict) -> bool| {
            verdicts.len() == batch.events.len() && verdicts.iter().all(|(_, verdict)| is(verdict))
        };
        if !self.protocols.believes(are_all(|verdict| matches!(verdict, EventVerdict::Dropped(_)))) {
            // As if V0 had rejected the batch: something is wrong with the events, or with PostHog.
            let error = Error::new(ErrorKind::BadRequest).with_status(200);
            return Err(Refusal::NotV1(ProtocolReason::DropsAll, error));
        }
        if are_all(|verdict| *verdict == EventVerdict::Retry) {
            let error = Error::new(ErrorKind::Server).with_status(200).with_retry_after(receipt.retry_after);
            return Err(Refusal::Failed(error));
        }
        Ok(receipt)
    }

    fn request_v1(&self, bearer: HeaderValue, id: BatchId, body: Bytes) -> Result<Request, Error> {
        let mut request = self.post_request("/i/v1/analytics/events", None, body);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(SDK_INFO, HeaderValue::from_static(SDK));
        headers.insert(REQUEST_ID, text(&id.request_id.to_string())?);
        headers.insert(ATTEMPT, id.attempt.into());
        // PostHog corrects clock skew by it, so it is read last.
        headers.insert(REQUEST_TIMESTAMP, text(&timestamp(clock::wall()).to_string())?);
        Ok(request)
    }

    /// Asks whether V1 works here, without an event and without a token of any project: PostHog refuses this one for its
    /// shape, after it has looked at all headers. No other answer shows V1, however much it looks like a refusal.
    #[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight asks"))]
    pub async fn probe_v1(&self) -> Result<(), Refusal> {
        const OF_NO_PROJECT: HeaderValue = HeaderValue::from_static("Bearer phx_preflight");
        let request = || ready(self.request_v1(OF_NO_PROJECT, BatchId::new(), Bytes::from_static(b"{}")));
        let answer = self.http.send(request, LONGEST_ANSWER).await?;
        answer.read_probe_v1(clock::wall(), self.longest_retry_after)
    }

    /// A token that PostHog accepts elsewhere did not arrive.
    async fn attribute_v1(&self, error: Error, token: &ProjectToken) -> Refusal {
        let is_about_the_token = error.kind().is_about_the_token();
        let error = self.attribute(error, token).await;
        if is_about_the_token && error.kind() == ErrorKind::WrongHost {
            return Refusal::NotV1(ProtocolReason::HeadersStripped, error);
        }
        Refusal::Failed(error)
    }
}

const SDK: &str = concat!("posthog-health/", env!("CARGO_PKG_VERSION"));
const SDK_INFO: HeaderName = HeaderName::from_static("posthog-sdk-info");
const REQUEST_ID: HeaderName = HeaderName::from_static("posthog-request-id");
const ATTEMPT: HeaderName = HeaderName::from_static("posthog-attempt");
const REQUEST_TIMESTAMP: HeaderName = HeaderName::from_static("posthog-request-timestamp");

fn text(value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))
}

/// The most that is read of an answer. A verdict has 55 bytes, and 100 with details.
fn longest_answer(events: usize) -> usize {
    LONGEST_ANSWER + 512 * events
}

impl Batch {
    async fn body_v1(&self, compressors: Option<&Compressors>) -> io::Result<Bytes> {
        // V1's form of an event is a little longer than V0's.
        let size = self.events.iter().map(|event| event.len() + 64).sum::<usize>();
        let mut body = Vec::with_capacity(size);
        body.extend_from_slice(b"{\"created_at\":\"");
        body.extend_from_slice(timestamp(self.id.created_at).to_string().as_bytes());
        body.extend_from_slice(b"\",\"batch\":[");
        for event in &*self.events {
            write_v1(event, &mut body);
            body.push(b',');
        }
        body.pop_if(|last| *last == b',');
        match compressors {
            Some(compressors) => compressors.gzip(&body, || "]}".into()).await,
            None => {
                body.extend_from_slice(b"]}");
                Ok(body.into())
            }
        }
    }
}

/// The body of a refusal.
#[derive(Deserialize)]
struct Tagged {
    error: String,
    /// For people. It has the names of headers that are missing.
    error_description: Option<String>,
}

impl Answer {
    /// What V1 means by it.
    fn read_v1(
        self,
        batch: &Batch,
        now: SystemTime,
        longest_retry_after: Duration,
        secret: &str,
    ) -> Result<Receipt, Refusal> {
        let (status, retry_after) = (self.status, self.retry_after(now, longest_retry_after));
        if let Some(reason) = self.not_v1() {
            let error = Error::new(ErrorKind::WrongHost).with_status(status);
            return Err(Refusal::NotV1(reason, error.with_answer(self.excerpt(secret))));
        }
        let is_quota = status == 429 && self.has_tag(&["billing_limit_exceeded"]);
        let body = self
            .into_body(now, longest_retry_after, secret)
            .map_err(|error| if is_quota { error.with_kind(ErrorKind::QuotaExceeded) } else { error })?;
        let Some(verdicts) = read_verdicts(&body, &batch.events, batch.was_unanswered) else {
            let error = Error::new(ErrorKind::WrongHost).with_status(status);
            return Err(Refusal::NotV1(ProtocolReason::Unsupported, error));
        };
        let discarded = verdicts.iter().filter(|(_, verdict)| *verdict == EventVerdict::OverQuota).count();
        let accepted = Accepted { over_quota: discarded == batch.events.len() };
        Ok(Receipt { accepted, verdicts: Some(verdicts), retry_after })
    }

    /// What the answer to [`Api::probe_v1`] says of this host.
    fn read_probe_v1(self, now: SystemTime, longest_retry_after: Duration) -> Result<(), Refusal> {
        if self.status == 401 && self.has_tag(&["invalid_api_token"]) {
            return Ok(());
        }
        let reason = self.not_v1().unwrap_or(ProtocolReason::Unsupported);
        let error = Error::new(ErrorKind::WrongHost)
            .with_status(self.status)
            .with_answer(self.tag().and_then(|tagged| tagged.error_description));
        match self.into_body(now, longest_retry_after, "phx_preflight") {
            // An outage and a rate limit say nothing about the protocol.
            Err(failed) if failed.is_retryable() => Err(Refusal::Failed(failed)),
            _ => Err(Refusal::NotV1(reason, error)),
        }
    }

    /// Whether this comes from a host that does not speak V1, or through a proxy that spoils it.
    fn not_v1(&self) -> Option<ProtocolReason> {
        let is_unsupported = match self.status {
            404 | 405 | 415 | 501 => true,
            // What PostHog and its proxies answer alike says nothing about the protocol.
            408 | 429 | 500.. => false,
            200..=299 => self.body.is_ok() && self.is_html(),
            _ if self.has_tag(&[
                "missing_required_headers",
                "invalid_header_value",
                "missing_authorization",
            ]) =>
            {
                return Some(ProtocolReason::HeadersStripped);
            }
            // PostHog tags its own refusals.
            _ => self.tag().is_none(),
        };
        is_unsupported.then_some(ProtocolReason::Unsupported)
    }

    fn has_tag(&self, tags: &[&str]) -> bool {
        self.tag().is_some_and(|Tagged { error, .. }| tags.contains(&error.as_str()))
    }

    fn tag(&self) -> Option<Tagged> {
        serde_json::from_slice(self.body.as_ref().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};

    use super::*;
    use ErrorKind::*;

    const UUID: &str = "00000000-0000-7000-8000-000000000000";

    fn read(status: u16, body: &str, is_page: bool) -> Result<Receipt, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, 7.into());
        if is_page {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        }
        let event = Bytes::from(format!(r#"{{"uuid":"{UUID}","event":"e"}}"#));
        let batch = Batch::new(std::iter::once(event), BatchId::new());
        let answer = Answer { status, headers, body: Ok(body.into()) };
        answer.read_v1(&batch, SystemTime::UNIX_EPOCH, Duration::from_secs(300), "phc_secret")
    }

    fn tagged(tag: &str) -> String {
        format!(r#"{{"error":"{tag}","error_description":"…","error_uri":"…"}}"#)
    }

    /// The answers of V1, and of what stands before it.
    #[test]
    fn the_tag_is_read_before_the_status() {
        let page = "<html>no</html>";
        for (status, body, is_page, expected) in [
            (404, "", false, Err("unsupported")),
            (405, "", false, Err("unsupported")),
            (415, &*tagged("unsupported_content_type"), false, Err("unsupported")),
            (501, "", false, Err("unsupported")),
            (403, page, true, Err("unsupported")),
            (200, page, true, Err("unsupported")),
            (200, r#"{"status":"Ok"}"#, false, Err("unsupported")),
            (302, "", false, Err("unsupported")),
            (400, "bad", false, Err("unsupported")),
            (401, "who?", false, Err("unsupported")),
            (413, page, true, Err("unsupported")),
            (400, &tagged("missing_required_headers"), false, Err("headers_stripped")),
            (400, &tagged("invalid_header_value"), false, Err("headers_stripped")),
            (401, &tagged("missing_authorization"), false, Err("headers_stripped")),
            (400, &tagged("duplicate_event_uuid"), false, Ok(BadRequest)),
            (401, &tagged("invalid_api_token"), false, Ok(Unauthorized)),
            (402, &tagged("billing_limit_exceeded"), false, Ok(QuotaExceeded)),
            (429, &tagged("billing_limit_exceeded"), false, Ok(QuotaExceeded)),
            (413, &tagged("payload_too_large"), false, Ok(TooLarge)),
            (429, "slow down", false, Ok(RateLimited)),
            (429, page, true, Ok(RateLimited)),
            (408, page, true, Ok(Server)),
            (500, page, true, Ok(Server)),
            (503, &tagged("service_unavailable"), false, Ok(Server)),
        ] {
            let seen = match read(status, body, is_page) {
                Err(Refusal::NotV1(reason, error)) => {
                    assert_eq!((error.kind(), error.status()), (WrongHost, Some(status)));
                    Err(reason.as_str())
                }
                Err(Refusal::Failed(error)) => {
                    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
                    Ok(error.kind())
                }
                Ok(receipt) => panic!("{status} {body}: {receipt:?}"),
            };
            assert_eq!(seen, expected, "{status} {body}");
        }
    }

    /// A gateway has JSON with an `error`, too.
    #[test]
    fn only_the_refusal_of_the_token_shows_that_v1_works() {
        for (status, body, expected) in [
            (401, &*tagged("invalid_api_token"), "works"),
            (403, &tagged("invalid_api_token"), "unsupported"),
            (403, r#"{"error":"Forbidden"}"#, "unsupported"),
            (401, r#"{"error":"unauthorized"}"#, "unsupported"),
            (400, r#"{"error":"no such route"}"#, "unsupported"),
            (200, r#"{"error":"maintenance"}"#, "unsupported"),
            (200, r#"{"results":{}}"#, "unsupported"),
            (404, "", "unsupported"),
            (401, &tagged("missing_authorization"), "headers_stripped"),
            (400, &tagged("missing_required_headers"), "headers_stripped"),
            (400, &tagged("invalid_header_value"), "headers_stripped"),
            (429, &tagged("rate_limited"), "cannot be asked"),
            (503, &tagged("service_unavailable"), "cannot be asked"),
            (502, "", "cannot be asked"),
        ] {
            let answer = Answer { status, headers: HeaderMap::new(), body: Ok(body.into()) };
            let seen = match answer.read_probe_v1(SystemTime::UNIX_EPOCH, Duration::ZERO) {
                Ok(()) => "works",
                Err(Refusal::NotV1(reason, _)) => reason.as_str(),
                Err(Refusal::Failed(_)) => "cannot be asked",
            };
            assert_eq!(seen, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_receipt_has_the_verdicts_and_the_hint() {
        let body = format!(r#"{{"results":{{"{UUID}":{{"result":"retry"}}}}}}"#);
        let Receipt { accepted, verdicts, retry_after } = read(200, &body, false).unwrap();
        assert_eq!((accepted.over_quota, verdicts), (false, Some(vec![(0, EventVerdict::Retry)])));
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
        let body =
            format!(r#"{{"results":{{"{UUID}":{{"result":"drop","details":"billing_limit_exceeded"}}}}}}"#);
        assert!(read(200, &body, false).unwrap().accepted.over_quota);
    }
}
