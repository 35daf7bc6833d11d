//! Answers to a batch, and their headers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolero::check;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;

use super::{Answer, Outcome};
use crate::fuzz::{ROUNDS, SECRET, fields, number, told};
use crate::layers::{Classify, HttpStatus, Verdict, retry_after};

const LONGEST: Duration = Duration::from_secs(300);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn headers<const N: usize>(headers: [(HeaderName, &[u8]); N]) -> HeaderMap {
    let present = headers.into_iter().filter(|(_, value)| !value.is_empty());
    present.filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?))).collect()
}

/// Status, Retry-After, Content-Type, how it broke off, body.
#[test]
fn answer() {
    check!(name = "answer").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [status, hint, content_type, cut, body] = fields(input);
        let status = number(status) as u16;
        let headers = headers([(RETRY_AFTER, hint), (CONTENT_TYPE, content_type)]);
        let cut = std::str::from_utf8(cut).ok().filter(|cut| !cut.is_empty());
        let read = match cut {
            Some(_) => Err("cut short".into()),
            None => Ok(body.to_vec()),
        };
        let result = Answer { status, headers, body: read }.read(now(), LONGEST, SECRET);
        let outcome = Outcome::of(result.as_ref());
        // All events of the batch, or none of them: an answer names no number.
        assert_eq!(matches!(outcome, Outcome::Delivered | Outcome::Discarded), result.is_ok());
        match result {
            Ok(accepted) => {
                assert!((200..=299).contains(&status) && cut.is_none());
                assert!(!body.trim_ascii_start().starts_with(b"<"));
                assert!(!accepted.over_quota || names_events_as_limited(body));
            }
            Err(error) => {
                assert!(error.retry_after().is_none_or(|hint| hint <= LONGEST));
                assert_eq!(error.status(), Some(status));
                let shown = error.answer().unwrap_or_default();
                assert!(shown.chars().count() <= 200 && !shown.contains(char::is_control));
                assert!(!told(&error).contains(SECRET) && !shown.contains(SECRET), "{shown}");
            }
        }
    });
}

/// The same question to another reader.
fn names_events_as_limited(body: &[u8]) -> bool {
    // Ours passes over what is not UTF-8 in other members.
    let body: Value = serde_json::from_str(&String::from_utf8_lossy(body)).unwrap_or_default();
    let names = body.get("quota_limited").or_else(|| body.get(0));
    names.and_then(Value::as_array).is_some_and(|names| names.iter().any(|name| name == "events"))
}

#[test]
fn hint() {
    check!(name = "retry_after").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        if HeaderValue::from_bytes(input).is_err() {
            return;
        }
        let read = |value: &[u8]| retry_after(&headers([(RETRY_AFTER, value)]), now());
        let digits = input.trim_ascii();
        let hint = read(input);
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            let seconds = std::str::from_utf8(digits).unwrap().parse().unwrap_or(u64::MAX);
            assert_eq!(hint, Some(Duration::from_secs(seconds)));
        } else if let Some(hint) = hint.filter(|hint| !hint.is_zero()) {
            let date = httpdate::fmt_http_date(now() + hint);
            assert_eq!(read(date.as_bytes()), Some(hint), "{date}");
        }
        for status in [429, 503] {
            let mut response = http::Response::new("");
            *response.status_mut() = status.try_into().unwrap();
            *response.headers_mut() = headers([(RETRY_AFTER, input)]);
            let answer: Result<_, &crate::Error> = Ok(&response);
            let verdict = HttpStatus::default().longest_retry_after(LONGEST).classify(answer);
            let (Verdict::Throttled { retry_after } | Verdict::Failed { retry_after }) = verdict else {
                panic!("{verdict:?}")
            };
            assert!(retry_after.is_none_or(|hint| hint <= LONGEST));
        }
    });
}
