//! What the preflight reads: answers, pages, a status page, what is said of a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolero::check;
use reqwest::header::{DATE, HeaderMap, HeaderValue, LOCATION};

use super::check::{CheckId, CheckStatus, Finding};
use super::clock::Sample;
use super::documents::unfilled;
use super::probes::{Answered, Probed, date};
use super::{answers, key_scopes, status_page};
use crate::api::Answer;
use crate::credentials::{Key, ProjectToken};
use crate::fuzz::{ROUNDS, SECRET, fields, number};

fn shows(finding: Finding) -> CheckStatus {
    let check = finding.of(CheckId::Answer);
    let remedy = check.remedy.as_deref().unwrap_or_default();
    assert!(check.seen.chars().count() <= 400 && !check.seen.contains(char::is_control));
    assert!(!check.seen.contains(SECRET) && !remedy.contains(SECRET), "{check:?}");
    check.status
}

/// Status, Date, Location, body.
#[test]
fn answer() {
    let token = ProjectToken::parse(SECRET).unwrap();
    check!(name = "answer").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [status, at, location, body] = fields(input);
        let mut headers = HeaderMap::new();
        for (name, value) in [(DATE, at), (LOCATION, location)] {
            headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (name, value)));
        }
        let status = number(status) as u16;
        let answer = Answer { status, headers, body: Ok(body.to_vec()) };
        let took = Duration::from_millis(5);
        let clock = date(&answer).map(|server| Sample { sent: UNIX_EPOCH, took, server });
        let answer = Ok(Answered::read(answer, Some(&token)));
        let probed = [Probed { took, answer, clock }];
        let judged = answers::judge(&probed, true).into_iter().map(|(id, finding)| (id, shows(finding)));
        let judged: Vec<_> = judged.collect();
        let is_accepted = judged.contains(&(CheckId::TokenAccepted, CheckStatus::Pass));
        assert!(
            !is_accepted
                || (200..=299).contains(&status)
                    && body
                        .windows(5)
                        .any(|text| text.eq_ignore_ascii_case(b"flags") || text.starts_with(b"\\u"))
        );
    });
}

#[test]
fn page() {
    check!(name = "page").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let found = unfilled(text);
        assert!(found.iter().map(|(line, _)| line).is_sorted());
        for (line, what) in &found {
            assert!(text.lines().nth(line - 1).is_some() && what.chars().count() <= 60 && !what.is_empty());
        }
        let left_open = format!("{}\nCall <fill in: whom>.", text);
        assert_eq!(unfilled(&left_open).len(), found.len() + 1, "wherever it stands");
    });
}

#[test]
fn status() {
    check!(name = "status").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Some(summary) = status_page::parse(input) else { return };
        for connected in [None, Some(true), Some(false)] {
            let status = shows(status_page::judge(&summary, connected));
            assert!(matches!(status, CheckStatus::Pass | CheckStatus::Warn), "advice, never decisive");
        }
    });
}

#[test]
fn scopes() {
    check!(name = "scopes").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Some(said) = key_scopes::Introspected::read(input, SECRET) else { return };
        let now = SystemTime::now();
        let judged = said.judge(&["feature_flag:read".to_owned()], now).map(shows);
        assert!(!judged.contains(&CheckStatus::Skipped) || input.windows(4).any(|text| text == b"last"));
    });
}
