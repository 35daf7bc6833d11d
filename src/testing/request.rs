use std::io::{self, Read};
use std::time::Instant;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::http::Head;

/// Where a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// `/batch/`: capture.
    Batch,
    /// `/flags/`: flag evaluation and the check of a project token.
    Flags,
    /// `/flags/definitions/`: for local evaluation.
    Definitions,
    /// `/api/personal_api_keys/@current/`: what a personal API key may do.
    PersonalApiKey,
    /// Anything else, which PostHog's ingestion host does not serve here.
    Other,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Where it went.
    pub route: Route,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark; empty if there was none.
    pub query: String,
    /// The headers in order, with lower-case names; see [`header`](Self::header).
    pub headers: Vec<(String, String)>,
    /// The body, decompressed if it said that it was gzip and was; empty if bodies are not kept, or if it was too large to be read.
    pub body: Bytes,
    /// The size of the body on the wire, before decompression; the announced size if it was too large to be read.
    pub wire_bytes: usize,
    /// The status that was answered; none if the reply sends no status.
    pub status: Option<u16>,
    /// When it had arrived.
    pub at: Instant,
    /// Whether its events were accepted.
    pub(super) accepted: bool,
    /// Why the body could not be decompressed.
    pub(super) undecodable: Option<String>,
}

impl Request {
    /// The value of the first header of this name, in whatever case it is given.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The key that it was sent with.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    pub(super) fn new(head: Head, wire_body: Bytes) -> Self {
        let wire_bytes = wire_body.len();
        let mut request = Self::unread(head, wire_bytes);
        match request.decoded(&wire_body) {
            Ok(Some(body)) => request.body = body,
            Ok(None) => request.body = wire_body,
            Err(error) => {
                request.body = wire_body;
                request.undecodable = Some(error.to_string());
            }
        }
        request
    }

    /// One whose body was too large to be read.
    pub(super) fn unread(head: Head, wire_bytes: usize) -> Self {
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
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    fn of(path: &str) -> Self {
        match path {
            "/batch" | "/batch/" => Self::Batch,
            "/flags" | "/flags/" => Self::Flags,
            "/flags/definitions" | "/flags/definitions/" => Self::Definitions,
            "/api/personal_api_keys/@current/" => Self::PersonalApiKey,
            _ => Self::Other,
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}
