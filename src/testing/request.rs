use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;

use super::capture::{self, Undecodable};
use super::http::Head;

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// `/batch/`, `/e/`, `/i/v0/e/`, and `/i/v0/ai/batch/` for AI events: capture, V0.
    Batch,
    /// `/i/v1/analytics/events`: capture, V1.
    CaptureV1,
    /// `/flags/`: flag evaluation and the check of a project token.
    Flags,
    /// `/flags/definitions/`: for local evaluation.
    Definitions,
    /// `/api/personal_api_keys/@current/`: the scopes of a personal API key.
    PersonalApiKey,
    /// Any other path. PostHog's ingestion host answers 404.
    Other,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The route.
    pub route: Route,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark; empty if there was none.
    pub query: String,
    /// The headers in order, with lower-case names; see [`header`](Self::header).
    pub headers: Vec<(String, String)>,
    /// The body, decompressed if it was valid gzip, or in V1 deflate. Empty if bodies are not kept, or if the body was too large.
    pub body: Bytes,
    /// The size of the body on the wire, before decompression. If the body was too large, the announced size.
    pub wire_bytes: usize,
    /// The status of the answer, or `None` if the reply sends no status.
    pub status: Option<u16>,
    /// The time at which the request had arrived.
    pub at: Instant,
    /// The positions of the accepted events.
    pub(crate) accepted: Vec<usize>,
    /// Why the body could not be decompressed.
    pub(crate) undecodable: Option<Undecodable>,
}

impl Request {
    /// Returns the value of the first header of this name. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or null if it is none. This is an event's envelope: `api_key` and `sent_at` in V0, `created_at`
    /// in V1.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the key of the `Authorization` header.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    pub(crate) fn new(head: Head, wire_body: Bytes) -> Self {
        let wire_bytes = wire_body.len();
        let mut request = Self::unread(head, wire_bytes);
        match request.decoded(&wire_body) {
            Ok(body) => request.body = body,
            Err(reason) => (request.body, request.undecodable) = (wire_body, Some(reason)),
        }
        request
    }

    /// Creates a request whose body was too large to be read.
    pub(crate) fn unread(head: Head, wire_bytes: usize) -> Self {
        Self {
            route: Route::of(&head.path),
            method: head.method,
            path: head.path,
            query: head.query,
            headers: head.headers,
            body: Bytes::new(),
            wire_bytes,
            status: None,
            at: Instant::now(),
            accepted: Vec::new(),
            undecodable: None,
        }
    }

    fn decoded(&self, wire_body: &Bytes) -> Result<Bytes, Undecodable> {
        let encoding = self.header("content-encoding");
        match self.route {
            Route::CaptureV1 => capture::decode_v1(wire_body, encoding),
            Route::Batch => capture::decode_v0(wire_body),
            _ if encoding == Some("gzip") || self.query.split('&').any(|part| part == "compression=gzip") => {
                capture::gunzip(wire_body)
            }
            _ => Ok(wire_body.clone()),
        }
    }
}

/// V0's endpoint for AI events.
pub const AI_BATCH: &str = "/i/v0/ai/batch/";

impl Route {
    /// `Other` is the last.
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/batch" | "/batch/" | "/e" | "/e/" | "/i/v0/e" | "/i/v0/e/" | AI_BATCH => Self::Batch,
            "/i/v1/analytics/events" | "/i/v1/analytics/events/" => Self::CaptureV1,
            "/flags" | "/flags/" => Self::Flags,
            "/flags/definitions" | "/flags/definitions/" => Self::Definitions,
            "/api/personal_api_keys/@current/" => Self::PersonalApiKey,
            _ => Self::Other,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
