use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::Error;
use crate::rt::clock;

/// What an attempt's result means to the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The service did what was asked.
    Success,
    /// The service answered, and would give the same request the same answer again (400, 401). The caller has a problem
    /// and the service is alive, so there is no retry, and the circuit breaker counts a success.
    Refused,
    /// The service is alive and asks for less (429). The call is retried, the circuit breaker ignores it, and the rate
    /// limit pauses.
    Throttled {
        /// How long the service asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The service is in trouble or out of reach (5xx, timeout, connection error). The call is retried, and the circuit
    /// breaker counts a failure.
    Failed {
        /// How long the service asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The call never reached the service, because an open circuit breaker rejected it. No layer counts it.
    NotAttempted,
}

/// Decides what a result means. The layers act on the [`Verdict`] alone.
///
/// A classifier is cloned into each layer, so keep it cheap to clone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell what `Result<{Res}, {Err}>` means",
    label = "the layer has no classifier for what comes out of the service below it",
    note = "`HttpStatus` is for `Result<reqwest::Response, posthog_health::Error>`: put \
            `.map_err(posthog_health::Error::from)` between the layers and the service",
    note = "for another answer or error, implement `Classify<{Res}, {Err}>` for a type of yours"
)]
pub trait Classify<Res, Err> {
    /// Returns what this result means.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// Classifies HTTP answers by status: 2xx and 3xx succeed, 429 throttles, 408 and 5xx fail, and the rest is refused.
/// Errors fail, except a rejection by an open circuit breaker, which is no attempt.
///
/// It is made for a `reqwest::Client` (a `tower::Service<reqwest::Request>` since 0.13) below
/// `map_err(posthog_health::Error::from)`, which makes one error type of reqwest's, tower's timeout's and the circuit
/// breaker's.
#[derive(Clone, Copy, Debug)]
pub struct HttpStatus {
    longest_retry_after: Duration,
}

impl HttpStatus {
    /// Caps a `Retry-After`. The default is 5 min: longer than a deployment or a failover takes, and short enough that a
    /// mistaken header does not silence a service for a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.longest_retry_after = longest;
        self
    }

    fn of(&self, status: u16, headers: &HeaderMap) -> Verdict {
        let hint = || retry_after(headers, clock::wall()).map(|d| d.min(self.longest_retry_after));
        match status {
            200..=399 => Verdict::Success,
            429 => Verdict::Throttled { retry_after: hint() },
            408 | 500..=599 => Verdict::Failed { retry_after: hint() },
            _ => Verdict::Refused,
        }
    }
}

impl Default for HttpStatus {
    fn default() -> Self {
        Self { longest_retry_after: Duration::from_secs(300) }
    }
}

impl Classify<reqwest::Response, Error> for HttpStatus {
    fn classify(&self, result: Result<&reqwest::Response, &Error>) -> Verdict {
        match result {
            Ok(response) => self.of(response.status().as_u16(), response.headers()),
            Err(error) if !error.kind().is_attempt() => Verdict::NotAttempted,
            Err(_) => Verdict::Failed { retry_after: None },
        }
    }
}

/// Reads `Retry-After` as [RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#field.retry-after)
/// defines it: seconds, or an HTTP date in any of its three forms. A date in the past is zero. Returns `None` if there is
/// no header or it cannot be read. The caller caps the result.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example.
    const EXAMPLE: u64 = 784_111_777;

    fn read(value: &str, now_s: u64) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now_s))
    }

    #[test]
    fn retry_after_is_seconds_or_any_of_the_three_http_dates() {
        let s = |n| Some(Duration::from_secs(n));
        assert_eq!(read("120", 0), s(120));
        assert_eq!(read(" 0 ", 0), s(0));
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(date, EXAMPLE - 30), s(30), "{date}");
            assert_eq!(read(date, EXAMPLE + 30), s(0), "in the past: {date}");
        }
        assert_eq!(read("99999999999999999999999999", 0), s(u64::MAX));
        for unreadable in ["", "soon", "-5", "1.5", "1e3"] {
            assert_eq!(read(unreadable, 0), None, "{unreadable:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), None);
    }

    #[test]
    fn an_absurd_retry_after_is_capped() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "99999999999999999999999999".parse().unwrap());
        assert_eq!(
            HttpStatus::default().of(503, &headers),
            Verdict::Failed { retry_after: Some(Duration::from_secs(300)) }
        );
        let cut = HttpStatus::default().longest_retry_after(Duration::from_secs(7)).of(429, &headers);
        assert_eq!(cut, Verdict::Throttled { retry_after: Some(Duration::from_secs(7)) });
    }

    proptest! {
        #[test]
        fn retry_after_never_panics(value in "\\PC{0,64}", now in 0u64..4_000_000_000) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = value.parse() {
                headers.insert(RETRY_AFTER, value);
            }
            let _ = retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        }
    }
}
