use std::any::Any;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use tower::BoxError;

use super::{CircuitOpen, RateLimitExceeded};
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
    /// The call never reached the service, because an open circuit breaker or a rate limit rejected it. No layer counts it.
    NotAttempted,
}

/// Decides what a result means. The layers act on the [`Verdict`] alone.
///
/// A closure is a classifier too, if it names the types of its argument:
///
/// ```
/// use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Verdict};
/// use tower::BoxError;
///
/// let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), |result: Result<&String, &BoxError>| match result {
///     Ok(answer) if answer != "busy" => Verdict::Success,
///     _ => Verdict::Failed { retry_after: None },
/// });
/// # let _ = layer;
/// ```
///
/// A classifier is cloned into each layer, so keep it cheap to clone. Recognise [`CircuitOpen`] and [`RateLimitExceeded`] as
/// [`Verdict::NotAttempted`] if there are further layers above, as [`HttpStatus`] does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell what `Result<{Res}, {Err}>` means",
    label = "the layer has no classifier for what comes out of the service below it",
    note = "`HttpStatus` is for the responses of `reqwest` and of `http`, with any error",
    note = "for another answer, use a closure, or implement `Classify<{Res}, {Err}>` for a type of yours"
)]
pub trait Classify<Res, Err> {
    /// Returns what this result means.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

impl<F, Res, Err> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Verdict,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        self(result)
    }
}

/// Classifies HTTP answers by status: 2xx and 3xx succeed, 429 throttles, 408 and 5xx fail, and the rest is refused.
/// Errors fail, except a rejection by an open circuit breaker or a rate limit, which is no attempt.
///
/// It takes `reqwest::Response` and `http::Response` with any body, so it fits reqwest, hyper, tonic and axum. gRPC's failures
/// have status 200: use a closure that reads `grpc-status`. It finds a rejection in an [`Error`], in a `BoxError` and the
/// sources of what is in it, and as itself.
///
/// The answer is judged by its head. A body that breaks off afterwards is not seen.
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

impl<Res: Head, Err: 'static> Classify<Res, Err> for HttpStatus {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) => self.of(response.status().as_u16(), response.headers()),
            Err(error) if is_rejection(error) => Verdict::NotAttempted,
            Err(_) => Verdict::Failed { retry_after: None },
        }
    }
}

/// The head of an HTTP response.
pub trait Head {
    fn status(&self) -> StatusCode;
    fn headers(&self) -> &HeaderMap;
}

impl Head for reqwest::Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

impl<B> Head for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

/// Whether a layer of ours rejected the call.
fn is_rejection(error: &dyn Any) -> bool {
    if let Some(error) = error.downcast_ref::<Error>() {
        return !error.kind().is_attempt();
    }
    let Some(error) = error.downcast_ref::<BoxError>() else {
        return error.is::<CircuitOpen>() || error.is::<RateLimitExceeded>();
    };
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = next {
        let is_ours = error.downcast_ref::<Error>().is_some_and(|error| !error.kind().is_attempt());
        if is_ours || error.is::<CircuitOpen>() || error.is::<RateLimitExceeded>() {
            return true;
        }
        next = error.source();
    }
    false
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

    #[test]
    fn a_rejection_is_found_in_any_box() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] BoxError);

        let exceeded = RateLimitExceeded { retry_in: Duration::ZERO };
        let rejections: [BoxError; 4] = [
            CircuitOpen { retry_in: None }.into(),
            exceeded.into(),
            Error::from(CircuitOpen { retry_in: None }).into(),
            Outer(Outer(exceeded.into()).into()).into(),
        ];
        for error in rejections {
            let result: Result<&http::Response<()>, _> = Err(&error);
            assert_eq!(HttpStatus::default().classify(result), Verdict::NotAttempted, "{error:?}");
        }
        let other: BoxError = Outer("no route".into()).into();
        let result: Result<&http::Response<()>, _> = Err(&other);
        assert_eq!(HttpStatus::default().classify(result), Verdict::Failed { retry_after: None });
    }

    #[test]
    fn a_response_of_http_is_judged_by_its_status() {
        let answers = |status: u16| {
            let response =
                http::Response::builder().status(status).header(RETRY_AFTER, "7").body("").unwrap();
            let result: Result<_, &std::io::Error> = Ok(&response);
            HttpStatus::default().classify(result)
        };
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(answers(204), Verdict::Success);
        assert_eq!(answers(404), Verdict::Refused);
        assert_eq!(answers(429), Verdict::Throttled { retry_after });
        assert_eq!(answers(503), Verdict::Failed { retry_after });
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
