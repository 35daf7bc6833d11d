use std::io::{self, Read};
use std::time::Instant;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::http::Head;

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// `/batch/`: capture.
    Batch,
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
    /// The body, decompressed if it was valid gzip. Empty if bodies are not kept, or if the body was too large.
    pub body: Bytes,
    /// The size of the body on the wire, before decompression. If the body was too large, the announced size.
    pub wire_bytes: usize,
    /// The status of the answer, or `None` if the reply sends no status.
    pub status: Option<u16>,
    /// The time at which the request had arrived.
    pub at: Instant,
    /// Whether its events were accepted.
    pub(crate) accepted: bool,
    /// Why the body could not be decompressed.
    pub(crate) undecodable: Option<String>,
}

impl Request {
    /// Returns the value of the first header of this name. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// Returns the key of the `Authorization` header.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    pub(crate) fn new(head: Head, wire_body: Bytes) -> Self {
        let wire_bytes = wire_body.len();
        let mut request = Self::unread(head, wire_bytes);
        let decoded = request.decoded(&wire_body);
        request.undecodable = decoded.as_ref().err().map(io::Error::to_string);
        request.body = decoded.ok().flatten().unwrap_or(wire_body);
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
            accepted: false,
            undecodable: None,
        }
    }

    fn decoded(&self, wire_body: &[u8]) -> io::Result<Option<Bytes>> {
        let by_query = self.query.split('&').any(|part| part == "compression=gzip");
        let by_header = self.header("content-encoding") == Some("gzip");
        if !by_query && !by_header {
            return Ok(None);
        }
        let mut body = Vec::with_capacity(wire_body.len().saturating_mul(4));
        GzDecoder::new(wire_body).read_to_end(&mut body)?;
        Ok(Some(body.into()))
    }
}

impl Route {
    /// `Other` is the last.
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    fn of(path: &str) -> Self {
        match path {
            "/batch" | "/batch/" => Self::Batch,
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
