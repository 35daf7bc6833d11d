//! The one classification: what an attempt came to, worked out once from status, headers, body and
//! transport error. Retry, breaker, limiter, ledger and health only read it.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use tower::BoxError;

use crate::layers::{Classify, Verdict, retry_after};
use crate::{Error, ErrorKind};

/// What an attempt to deliver a batch came to: what to do next. The [`ErrorKind`] tells what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// PostHog took the batch.
    Delivered,
    /// PostHog took the batch and threw it away, since the project is over its billing quota.
    Discarded,
    /// Trouble on the way or at PostHog: try again, no earlier than asked.
    Retry {
        /// The server's hint.
        after: Option<Duration>,
    },
    /// PostHog asks for fewer requests: try again, no earlier than asked.
    SlowDown {
        /// The server's hint.
        after: Option<Duration>,
    },
    /// The batch as it is will never be taken, parts of it may be.
    Split,
    /// Nothing will be taken until a person (or a rotated key) changes something: keep the events, stop
    /// sending, try again slowly.
    Stop,
}

impl Outcome {
    /// What this result asks for.
    pub fn of(result: Result<&Accepted, &Error>) -> Self {
        use ErrorKind::*;
        let error = match result {
            Ok(accepted) if accepted.over_quota => return Self::Discarded,
            Ok(_) => return Self::Delivered,
            Err(error) => error,
        };
        let after = error.retry_after();
        match error.kind() {
            Connect | Dns | Tls | Timeout | ConnectionLost | AnswerCutShort | Server | CircuitOpen => {
                Self::Retry { after }
            }
            RateLimited => Self::SlowDown { after },
            BadRequest | TooLarge => Self::Split,
            Unauthorized | Forbidden | QuotaExceeded | WrongHost => Self::Stop,
        }
    }
}

/// PostHog answered 2xx, as PostHog does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The answer says that events are over the billing quota: they are gone.
    pub over_quota: bool,
}

/// Tells the layers what a delivery attempt means.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryClassifier;

impl Classify<Accepted, Error> for DeliveryClassifier {
    fn classify(&self, result: Result<&Accepted, &Error>) -> Verdict {
        if result.is_err_and(|error| error.kind() == ErrorKind::CircuitOpen) {
            return Verdict::NotAttempted;
        }
        match Outcome::of(result) {
            Outcome::Delivered | Outcome::Discarded => Verdict::Success,
            Outcome::Retry { after } => Verdict::Failed { retry_after: after },
            Outcome::SlowDown { after } => Verdict::Throttled { retry_after: after },
            Outcome::Split | Outcome::Stop => Verdict::Refused,
        }
    }
}

/// An HTTP answer as it came. The body may be cut at a size that no answer of PostHog's reaches.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Vec<u8>, BoxError>,
}

impl Answer {
    /// What PostHog means by it.
    pub(crate) fn read(
        self,
        now: SystemTime,
        longest_retry_after: Duration,
        secret: &str,
    ) -> Result<Accepted, Error> {
        let body = self.into_body(now, longest_retry_after, secret)?;
        Ok(Accepted { over_quota: events_are_over_quota(&body) })
    }

    /// The body of a success.
    pub(crate) fn into_body(
        self,
        now: SystemTime,
        longest_retry_after: Duration,
        secret: &str,
    ) -> Result<Vec<u8>, Error> {
        let status = self.status;
        let kind = match kind_of(status) {
            None => return self.into_body_of_success(),
            // PostHog's 400s are plain text: a page comes from something in between, and says nothing
            // about the events.
            Some(ErrorKind::BadRequest) if self.is_html() => ErrorKind::WrongHost,
            Some(kind) => kind,
        };
        let hint = retry_after(&self.headers, now).map(|hint| hint.min(longest_retry_after));
        Err(Error::new(kind).with_status(status).with_retry_after(hint).with_answer(self.excerpt(secret)))
    }

    fn into_body_of_success(self) -> Result<Vec<u8>, Error> {
        let (is_html, status) = (self.is_html(), self.status);
        let body = self
            .body
            .map_err(|cause| Error::new(ErrorKind::AnswerCutShort).with_status(status).with_source(cause))?;
        if is_html {
            return Err(Error::new(ErrorKind::WrongHost).with_status(status));
        }
        Ok(body)
    }

    fn excerpt(&self, secret: &str) -> Option<String> {
        let body = String::from_utf8_lossy(self.body.as_ref().ok()?);
        // First what is left out, since the token may be what is left.
        let text: String = body.trim().chars().filter(|c| !c.is_control()).collect();
        let text: String = text.replace(secret, "[token]").chars().take(EXCERPT).collect();
        (!text.is_empty()).then_some(text)
    }

    fn is_html(&self) -> bool {
        let declared = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let looks = self.body.as_ref().is_ok_and(|body| body.trim_ascii_start().starts_with(b"<"));
        looks
            || declared.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
    }
}

/// A success whose JSON is not PostHog's. Where, not what: serde's own words quote it, and it may repeat a key.
pub(crate) fn not_posthogs(cause: &serde_json::Error) -> Error {
    let (what, line, column) = (cause.classify(), cause.line(), cause.column());
    Error::new(ErrorKind::WrongHost)
        .with_source(format!("{what:?} in its JSON at line {line} column {column}"))
}

/// What a status means. `None`: all is well. Only 400 and 422 say that the events are bad; a status that
/// PostHog does not use comes from something else.
pub(crate) fn kind_of(status: u16) -> Option<ErrorKind> {
    match status {
        200..=299 => None,
        400 | 422 => Some(ErrorKind::BadRequest),
        401 => Some(ErrorKind::Unauthorized),
        402 => Some(ErrorKind::QuotaExceeded),
        403 => Some(ErrorKind::Forbidden),
        408 | 500..=599 => Some(ErrorKind::Server),
        413 => Some(ErrorKind::TooLarge),
        429 => Some(ErrorKind::RateLimited),
        _ => Some(ErrorKind::WrongHost),
    }
}

/// PostHog's own error texts are shorter.
const EXCERPT: usize = 200;

fn events_are_over_quota(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        quota_limited: Vec<String>,
    }
    serde_json::from_slice::<Body>(body)
        .is_ok_and(|body| body.quota_limited.iter().any(|name| name == "events"))
}

/// From this size on, a server that hangs up while the body is being written most likely refused the size:
/// it closes after its 413 without reading on, and the client sees the broken pipe first. Old self-hosted
/// servers take 2 MiB; well below that a hang-up is just a hang-up.
const LARGE_BODY: usize = 512 * 1024;

/// What a failure to get any answer means, after `sent` bytes of body were offered.
pub(crate) fn read_failure(error: reqwest::Error, sent: usize) -> Error {
    let error = error.without_url();
    let status = error.status();
    let kind = if let Some(kind) = status.and_then(|status| kind_of(status.as_u16())) {
        kind
    } else if error.is_builder() {
        ErrorKind::BadRequest
    } else if error.is_timeout() {
        ErrorKind::Timeout
    } else if error.is_connect() {
        connect_failure(&error)
    } else if error.is_body() || error.is_decode() {
        ErrorKind::AnswerCutShort
    } else if sent >= LARGE_BODY && hung_up(&error) {
        ErrorKind::TooLarge
    } else {
        ErrorKind::ConnectionLost
    };
    let read = Error::new(kind).with_source(error);
    match status {
        Some(status) => read.with_status(status.as_u16()),
        None => read,
    }
}

/// The HTTP client names neither DNS nor TLS in its types: the resolver's error is told by its text, and
/// TLS errors are the only invalid data or end of file that a connection can meet.
fn connect_failure(error: &reqwest::Error) -> ErrorKind {
    if causes(error).any(|cause| cause.to_string() == "dns error") {
        return ErrorKind::Dns;
    }
    match io_kind(error) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => ErrorKind::Tls,
        _ => ErrorKind::Connect,
    }
}

fn hung_up(error: &reqwest::Error) -> bool {
    use io::ErrorKind::*;
    let reset = matches!(io_kind(error), Some(BrokenPipe | ConnectionReset | ConnectionAborted));
    reset
        || causes(error).any(|cause| cause.to_string().contains("connection closed before message completed"))
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

/// What happened on the wire.
pub(crate) fn innermost_cause(error: &Error) -> Option<&(dyn StdError + 'static)> {
    causes(error).skip(1).last()
}

/// An error and what caused it, the innermost last.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| {
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // An I/O error that wraps another does not name it as its source.
            Some(wrapped) => Some(wrapped as _),
            None => cause.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: Result<&str, ()>) -> Result<Accepted, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(reqwest::header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let body = body.map(|text| text.as_bytes().to_vec()).map_err(|()| "cut short".into());
        Answer { status, headers: map, body }.read(
            SystemTime::UNIX_EPOCH,
            Duration::from_secs(300),
            "phc_secret",
        )
    }

    /// Each answer of the facts page. Failures without an answer are tested over real sockets in
    /// `tests/transport.rs`.
    #[test]
    fn every_answer_has_one_meaning() {
        let html = [("content-type", "text/html; charset=utf-8")];
        let after = |seconds| Some(Duration::from_secs(seconds));
        let ok = |over_quota| Ok(Accepted { over_quota });
        let (retry, stop) = (Outcome::Retry { after: None }, Outcome::Stop);
        type Row<'a> =
            (u16, &'a [(&'a str, &'a str)], Result<&'a str, ()>, Result<Accepted, ErrorKind>, Outcome);
        let rows: &[Row<'_>] = &[
            (200, &[], Ok(r#"{"status":"Ok"}"#), ok(false), Outcome::Delivered),
            (200, &[], Ok(r#"{"status":1}"#), ok(false), Outcome::Delivered),
            (200, &[], Ok("1"), ok(false), Outcome::Delivered),
            (204, &[], Ok(""), ok(false), Outcome::Delivered),
            (200, &[], Ok(r#"{"status":"Ok","quota_limited":["events"]}"#), ok(true), Outcome::Discarded),
            (
                200,
                &[],
                Ok(r#"{"status":"Ok","quota_limited":["recordings"]}"#),
                ok(false),
                Outcome::Delivered,
            ),
            (200, &html, Ok("<html>log in</html>"), Err(WrongHost), stop),
            (200, &[], Ok("\n<!doctype html>"), Err(WrongHost), stop),
            (200, &[], Err(()), Err(AnswerCutShort), retry),
            (301, &[], Ok(""), Err(WrongHost), stop),
            (302, &[("location", "https://elsewhere.example")], Ok(""), Err(WrongHost), stop),
            (400, &[], Ok("request holds no event"), Err(BadRequest), Outcome::Split),
            (400, &html, Ok("<html>Bad Request</html>"), Err(WrongHost), stop),
            (401, &[], Ok("API key is not valid: empty"), Err(Unauthorized), stop),
            (402, &[], Ok(""), Err(QuotaExceeded), stop),
            (403, &[], Ok(""), Err(Forbidden), stop),
            (404, &[], Ok(""), Err(WrongHost), stop),
            (405, &[], Ok(""), Err(WrongHost), stop),
            (407, &html, Ok("<html>proxy</html>"), Err(WrongHost), stop),
            (408, &[], Ok(""), Err(Server), retry),
            (413, &[], Ok("length limit exceeded"), Err(TooLarge), Outcome::Split),
            (413, &html, Ok("<html>nginx</html>"), Err(TooLarge), Outcome::Split),
            (409, &[], Ok(""), Err(WrongHost), stop),
            (422, &[], Ok(""), Err(BadRequest), Outcome::Split),
            (431, &[], Ok(""), Err(WrongHost), stop),
            (451, &[], Ok(""), Err(WrongHost), stop),
            (429, &[], Ok("rate limited"), Err(RateLimited), Outcome::SlowDown { after: None }),
            (429, &[("retry-after", "7")], Ok(""), Err(RateLimited), Outcome::SlowDown { after: after(7) }),
            (500, &[], Ok(""), Err(Server), retry),
            (502, &html, Ok("<html>bad gateway</html>"), Err(Server), retry),
            (503, &[], Ok("transient error, please retry"), Err(Server), retry),
            (503, &[("retry-after", "30")], Err(()), Err(Server), Outcome::Retry { after: after(30) }),
            (503, &[("retry-after", "86400")], Ok(""), Err(Server), Outcome::Retry { after: after(300) }),
            (504, &[], Ok(""), Err(Server), retry),
            (599, &[], Ok(""), Err(Server), retry),
        ];
        for (status, headers, body, meaning, outcome) in rows {
            let result = answer(*status, headers, *body);
            let seen = result.as_ref().map(|accepted| *accepted).map_err(Error::kind);
            assert_eq!(seen, *meaning, "{status} {headers:?} {body:?}");
            assert_eq!(Outcome::of(result.as_ref()), *outcome, "{status} {headers:?} {body:?}");
            if let Err(error) = result {
                assert_eq!(error.status(), Some(*status));
                let retryable = matches!(outcome, Outcome::Retry { .. } | Outcome::SlowDown { .. });
                assert_eq!(error.is_retryable(), retryable, "{error}");
            }
        }
    }

    #[test]
    fn an_excerpt_is_cut_after_the_secret_was_taken_out() {
        let text = format!("{}phc_secret", "x".repeat(EXCERPT - 5));
        let error = answer(400, &[], Ok(&text)).unwrap_err();
        assert_eq!(error.answer(), Some(&*format!("{}[toke", "x".repeat(EXCERPT - 5))));
    }

    #[test]
    fn an_excerpt_has_no_secret_with_control_characters_in_it() {
        let error = answer(400, &[], Ok("no phc_\u{1}secret")).unwrap_err();
        assert_eq!(error.answer(), Some("no [token]"));
    }

    #[test]
    fn what_was_answered_is_shown_by_neither_display_nor_debug() {
        let error = answer(400, &[], Ok("event 'order placed' of user-1")).unwrap_err();
        assert_eq!(error.answer(), Some("event 'order placed' of user-1"));
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains("order placed") && !shown.contains("user-1"), "{shown}");
    }

    #[test]
    fn the_layers_read_the_same_outcome() {
        let verdict = |status| DeliveryClassifier.classify(answer(status, &[], Ok("")).as_ref());
        assert_eq!(verdict(200), Verdict::Success);
        assert_eq!(verdict(400), Verdict::Refused);
        assert_eq!(verdict(401), Verdict::Refused);
        assert_eq!(verdict(429), Verdict::Throttled { retry_after: None });
        assert_eq!(verdict(503), Verdict::Failed { retry_after: None });
        let open = Error::from(crate::layers::CircuitOpen { retry_in: None });
        assert_eq!(DeliveryClassifier.classify(Err::<&Accepted, _>(&open)), Verdict::NotAttempted);
    }
}
