use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// How the server answers one request.
///
/// A reply is PostHog's own answer ([`normal`](Self::normal)) or one that stands in for it, and how much of it reaches the
/// client. Headers, body and delay can be set on any of them; of what is never sent, nothing shows.
#[derive(Clone, Debug)]
#[must_use = "a reply does nothing until it is scripted"]
pub struct Reply {
    delay: Duration,
    delivery: Delivery,
    /// None: PostHog decides.
    pub(super) status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

/// How far the answer gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivery {
    Whole,
    Hang,
    HangAfterHeaders,
    Close,
    Reset,
    ResetMidBody,
    TruncatedBody,
}

/// An answer, and how to send it.
pub(super) struct Outgoing {
    pub(super) answer: Answer,
    pub(super) delay: Duration,
    pub(super) delivery: Delivery,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    /// What PostHog would answer.
    pub fn normal() -> Self {
        Self {
            delay: Duration::ZERO,
            delivery: Delivery::Whole,
            status: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// This status, with an empty body unless one is [set](Self::body).
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::normal() }
    }

    /// 200 with a login page: some other service lives at this address.
    pub fn html() -> Self {
        Self::status(200)
            .header("content-type", "text/html; charset=utf-8")
            .body("<!doctype html><title>Log in</title><h1>Please log in</h1>")
    }

    /// 302 to another address.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).header("location", location)
    }

    /// 200 with a body of this many bytes: no client should read that to its end.
    pub fn oversized_body(bytes: usize) -> Self {
        Self::status(200).body(vec![b' '; bytes])
    }

    /// Reads the request and never answers; the connection stays open until the client closes it.
    pub fn hang() -> Self {
        Self::ok(Delivery::Hang)
    }

    /// Sends 200 and the headers, then nothing more.
    pub fn hang_after_headers() -> Self {
        Self::ok(Delivery::HangAfterHeaders)
    }

    /// Reads the request and closes the connection without an answer.
    pub fn close() -> Self {
        Self::ok(Delivery::Close)
    }

    /// Reads the request and resets the connection.
    pub fn reset() -> Self {
        Self::ok(Delivery::Reset)
    }

    /// Sends 200, the headers and half of the body, then resets the connection.
    pub fn reset_mid_body() -> Self {
        Self::ok(Delivery::ResetMidBody)
    }

    /// Sends 200, the headers and half of the body, then closes the connection.
    pub fn truncated_body() -> Self {
        Self::ok(Delivery::TruncatedBody)
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a `Retry-After` header: seconds, an HTTP date, or nonsense.
    pub fn retry_after(self, value: impl Into<String>) -> Self {
        self.header("retry-after", value)
    }

    /// Sets the body. On a [normal](Self::normal) reply it replaces PostHog's words, not its doings: good events are accepted.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Answers this much later, in real time.
    ///
    /// Only the answer waits. Events that a delayed normal reply accepts are accepted at once: a client that gives up
    /// too early and sends them again makes duplicates, as in life.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Puts its headers and its body over the answer, and says how to send it.
    pub(super) fn dress(self, mut answer: Answer) -> Outgoing {
        answer.headers.extend(self.headers);
        answer.body = self.body.unwrap_or(answer.body);
        Outgoing { answer, delay: self.delay, delivery: self.delivery }
    }

    fn ok(delivery: Delivery) -> Self {
        let reply = Self::status(200).header("content-type", "application/json");
        Self { delivery, ..reply.body(r#"{"status":"Ok"}"#) }
    }
}

impl Delivery {
    /// Whether the client gets to see a status.
    pub(super) fn shows_status(self) -> bool {
        !matches!(self, Self::Hang | Self::Close | Self::Reset)
    }
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::typed(status, "text/plain; charset=utf-8", body.into())
    }

    pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::typed(status, "application/json", body.into())
    }

    /// Adds the server's time, unless it was scripted.
    pub(super) fn date(&mut self, now: SystemTime, ahead: i64) {
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            return;
        }
        let by = Duration::from_secs(ahead.unsigned_abs());
        let date = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        self.headers.push(("date".to_owned(), httpdate::fmt_http_date(date.unwrap_or(now))));
    }

    /// Tells the client that the connection ends here.
    pub(super) fn closing(mut self) -> Self {
        self.headers.push(("connection".to_owned(), "close".to_owned()));
        self
    }

    fn typed(status: u16, content_type: &str, body: Bytes) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body }
    }
}
