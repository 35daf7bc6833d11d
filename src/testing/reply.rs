use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::capture::{Pick, Verdict, v1};

/// How the server answers one request.
///
/// A reply is PostHog's own answer ([`normal`](Self::normal)) or a substitute, together with how much of it reaches the
/// client. Headers, body and delay can be set on every reply, but have no effect on a part that is never sent.
#[derive(Clone, Debug)]
#[must_use = "a reply does nothing until it is scripted"]
pub struct Reply {
    delay: Duration,
    delivery: Delivery,
    /// `None` lets PostHog's rules decide.
    pub(crate) status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
    /// The first that picks an event decides on it.
    pub(crate) verdicts: Vec<(Pick, Verdict)>,
}

/// How much of the answer reaches the client.
#[derive(Clone, Copy, Debug)]
pub enum Delivery {
    Whole,
    Hang,
    HangAfterHeaders,
    Close,
    Reset,
    ResetMidBody,
    TruncatedBody,
}

/// An answer, and how to send it.
pub struct Outgoing {
    pub answer: Answer,
    pub delay: Duration,
    pub delivery: Delivery,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    /// Answers as PostHog would.
    pub fn normal() -> Self {
        Self {
            delay: Duration::ZERO,
            delivery: Delivery::Whole,
            status: None,
            headers: Vec::new(),
            body: None,
            verdicts: Vec::new(),
        }
    }

    /// Answers with this status, and with an empty body unless one is [set](Self::body).
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::normal() }
    }

    /// Answers with an error as capture V1 sends it: JSON with this `error` tag, for example `rate_limited` or
    /// `billing_limit_exceeded`.
    pub fn error(status: u16, tag: &str) -> Self {
        let Answer { headers, body, .. } = v1::error(status, tag, tag.replace('_', " "));
        Self { headers, body: Some(body), ..Self::status(status) }
    }

    /// Answers 200 with a login page, as another service at this address would.
    pub fn html() -> Self {
        Self::status(200)
            .header("content-type", "text/html; charset=utf-8")
            .body("<!doctype html><title>Log in</title><h1>Please log in</h1>")
    }

    /// Answers 302, redirecting to another address.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).header("location", location)
    }

    /// Answers 200 with a body of this many bytes, which no client should read to the end.
    pub fn oversized_body(bytes: usize) -> Self {
        Self::status(200).body(vec![b' '; bytes])
    }

    /// Reads the request and never answers; the connection stays open until the client closes it.
    pub fn hang() -> Self {
        Self::ok(Delivery::Hang)
    }

    /// Sends 200 and the headers, and nothing more.
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

    /// Adds a header. On a [normal](Self::normal) reply it replaces PostHog's own header of this name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a `Retry-After` header: seconds, an HTTP date, or nonsense.
    pub fn retry_after(self, value: impl Into<String>) -> Self {
        self.header("retry-after", value)
    }

    /// Sets the body. On a [normal](Self::normal) reply it replaces the text alone: PostHog's rules still apply, and good
    /// events are accepted.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the verdict of capture V1 on some of a batch's events, instead of PostHog's own. [`Pick`] says how to name events. If
    /// several calls name an event, the first one decides. It has no effect on other routes, or on a reply that is not
    /// [normal](Self::normal).
    ///
    /// ```
    /// # use posthog_health::testing::{FakePostHog, Reply, Verdict};
    /// # let posthog = FakePostHog::start();
    /// let reply = Reply::normal()
    ///     .verdict("poison", Verdict::new("drop").details("event_too_big"))
    ///     .verdict(0..10, Verdict::new("retry").details("not_persisted"))
    ///     .retry_after("5");
    /// posthog.capture_v1().then(reply);
    /// ```
    pub fn verdict(mut self, events: impl Into<Pick>, verdict: Verdict) -> Self {
        self.verdicts.push((events.into(), verdict));
        self
    }

    /// Delays the answer by this much real time.
    ///
    /// Only the answer is delayed. A delayed normal reply accepts events at once, so a client that times out and sends them
    /// again makes duplicates, as with PostHog.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Applies the reply's headers, body and delivery to an answer.
    pub(crate) fn apply_to(self, mut answer: Answer) -> Outgoing {
        let replaced = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        answer.headers.retain(|(name, _)| !replaced(name));
        answer.headers.extend(self.headers);
        answer.body = self.body.unwrap_or(answer.body);
        Outgoing { answer, delay: self.delay, delivery: self.delivery }
    }

    /// Whether PostHog's rules decide.
    pub(crate) fn is_normal(&self) -> bool {
        self.status.is_none()
    }

    fn ok(delivery: Delivery) -> Self {
        let reply = Self::status(200).header("content-type", "application/json");
        Self { delivery, ..reply.body(r#"{"status":"Ok"}"#) }
    }
}

impl Delivery {
    /// Whether the client receives a status.
    pub fn shows_status(self) -> bool {
        !matches!(self, Self::Hang | Self::Close | Self::Reset)
    }
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::typed(status, "text/plain; charset=utf-8", body.into())
    }

    /// A page that a proxy answers with.
    pub fn page(status: u16) -> Self {
        let page = format!("<!doctype html><title>{status}</title><center><h1>{status}</h1></center>");
        Self::typed(status, "text/html", page.into())
    }

    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::typed(status, "application/json", body.into())
    }

    /// Adds the server's time, unless the script has set one.
    pub fn date(&mut self, now: SystemTime, ahead: i64) {
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            return;
        }
        let by = Duration::from_secs(ahead.unsigned_abs());
        let date = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        self.headers.push(("date".to_owned(), httpdate::fmt_http_date(date.unwrap_or(now))));
    }

    /// Announces that the connection will be closed.
    pub fn closing(mut self) -> Self {
        self.headers.push(("connection".to_owned(), "close".to_owned()));
        self
    }

    fn typed(status: u16, content_type: &str, body: Bytes) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body }
    }
}
