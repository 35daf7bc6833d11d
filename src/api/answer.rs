//! Answers of PostHog, read once.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use tower::BoxError;

use crate::layers::retry_after;
use crate::{Error, ErrorKind};

/// PostHog's success: a 2xx that reads as PostHog answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The project is over its billing quota, and PostHog has discarded the events.
    pub over_quota: bool,
}

/// An HTTP answer as it came. The body may be cut at a size that no answer of PostHog's reaches.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Result<Vec<u8>, BoxError>,
}

impl Answer {
    /// The answer, of which no more than this is read.
    pub fn cut(mut self, longest: usize) -> Self {
        if let Ok(body) = &mut self.body {
            body.truncate(longest);
        }
        self
    }

    /// What PostHog means by it.
    pub fn read(
        self,
        now: SystemTime,
        longest_retry_after: Duration,
        secret: &str,
    ) -> Result<Accepted, Error> {
        let body = self.into_body(now, longest_retry_after, secret)?;
        Ok(Accepted { over_quota: events_are_over_quota(&body) })
    }

    /// The body of a success.
    pub fn into_body(
        self,
        now: SystemTime,
        longest_retry_after: Duration,
        secret: &str,
    ) -> Result<Vec<u8>, Error> {
        let status = self.status;
        let kind = match ErrorKind::of_status(status) {
            None => return self.into_body_of_success(),
            // PostHog's refusals are plain text or JSON. A page comes from something in between, such as a firewall.
            Some(ErrorKind::BadRequest | ErrorKind::Unauthorized | ErrorKind::Forbidden)
                if self.is_html() =>
            {
                ErrorKind::WrongHost
            }
            Some(kind) => kind,
        };
        let hint = self.retry_after(now, longest_retry_after);
        Err(Error::new(kind).with_status(status).with_retry_after(hint).with_answer(self.excerpt(secret)))
    }

    /// The server's hint, capped.
    pub fn retry_after(&self, now: SystemTime, longest: Duration) -> Option<Duration> {
        retry_after(&self.headers, now).map(|hint| hint.min(longest))
    }

    fn into_body_of_success(self) -> Result<Vec<u8>, Error> {
        let (is_html, status) = (self.is_html(), self.status);
        let body = self.body.map_err(|cause| {
            Error::new(ErrorKind::TruncatedResponse).with_status(status).with_source(cause)
        })?;
        if is_html {
            return Err(Error::new(ErrorKind::WrongHost).with_status(status));
        }
        Ok(body)
    }

    /// The beginning of the body, for people.
    pub fn excerpt(&self, secret: &str) -> Option<String> {
        let body = String::from_utf8_lossy(self.body.as_ref().ok()?);
        // Control characters go first, because without them the text may contain the token.
        let text: String = body.trim().chars().filter(|c| !c.is_control()).collect();
        let text: String = text.replace(secret, "[token]").chars().take(EXCERPT).collect();
        (!text.is_empty()).then_some(text)
    }

    pub fn is_html(&self) -> bool {
        let declared = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let looks = self.body.as_ref().is_ok_and(|body| body.trim_ascii_start().starts_with(b"<"));
        looks
            || declared.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
    }
}

/// The error of a success whose JSON is not what PostHog sends. It names the place and quotes nothing, because the answer
/// may repeat a key.
pub fn unexpected_json(cause: &serde_json::Error) -> Error {
    let (what, line, column) = (cause.classify(), cause.line(), cause.column());
    Error::new(ErrorKind::WrongHost)
        .with_source(format!("{what:?} in its JSON at line {line} column {column}"))
}

/// Characters of an answer that an error keeps. PostHog's own error texts are shorter.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Outcome, PostHogClassifier};
    use crate::layers::{Classify, Verdict};
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
            (200, &[], Err(()), Err(TruncatedResponse), retry),
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
        let verdict = |status| PostHogClassifier.classify(answer(status, &[], Ok("")).as_ref());
        assert_eq!(verdict(200), Verdict::Success);
        assert_eq!(verdict(400), Verdict::Refused);
        assert_eq!(verdict(401), Verdict::Refused);
        assert_eq!(verdict(429), Verdict::Throttled { retry_after: None });
        assert_eq!(verdict(503), Verdict::Failed { retry_after: None });
        let open = Error::from(crate::layers::CircuitOpen { retry_in: None });
        assert_eq!(PostHogClassifier.classify(Err::<&Accepted, _>(&open)), Verdict::NotAttempted);
    }
}
