//! What the answers to the probes mean. Judgement only.

use std::time::Duration;

use super::check::{CheckId, Finding, Findings};
use super::clock;
use super::http;
use super::probes::{Answered, Probed};
use crate::ErrorKind;

/// Whether PostHog answered without a failure of its own.
pub fn is_connected(probed: &[Probed]) -> bool {
    let mut answers = probed.iter().flat_map(|probed| &probed.answer);
    answers.any(|answer| matches!(answer.meaning, Ok(()) | Err(ErrorKind::Unauthorized)))
}

pub fn judge(probed: &[Probed], token: bool) -> Findings {
    let took: Vec<_> =
        probed.iter().filter(|probed| probed.answer.is_ok()).map(|probed| probed.took).collect();
    let clocks: Vec<_> = probed.iter().filter_map(|probed| probed.clock).collect();
    vec![
        (CheckId::TokenAccepted, token_accepted(probed, token)),
        (CheckId::Http, http_status(probed)),
        (CheckId::Answer, answer(probed)),
        (CheckId::Latency, latency(&took)),
        (CheckId::Clock, clock::judge(&clocks)),
    ]
}

/// The last answer decides, because a token may be unknown for a moment after its creation.
fn token_accepted(probed: &[Probed], token: bool) -> Finding {
    if !token {
        return Finding::skipped("there is no token to ask about: see config.token");
    }
    match probed.last().map(|probed| &probed.answer) {
        None => Finding::skipped("PostHog could not be asked"),
        Some(Err(error)) if !is_connected(probed) => {
            Finding::skipped(format!("PostHog could not be asked: {error}"))
        }
        Some(Err(error)) => Finding::skipped(format!("PostHog did not answer each time: {error}")),
        Some(Ok(Answered { meaning: Ok(()), is_posthogs: true, .. })) => Finding::pass("PostHog knows it"),
        Some(Ok(Answered { meaning: Err(ErrorKind::Unauthorized), status, .. })) => Finding::fail(
            format!("PostHog does not know it (HTTP {status}, asked {} times)", probed.len()),
            "take the token of this project and region from PostHog's project settings; another region has other tokens",
        ),
        Some(Ok(Answered { meaning: Err(ErrorKind::Forbidden), status, .. })) => Finding::fail(
            format!("refused (HTTP {status})"),
            "look for a firewall or proxy in front of PostHog that refuses; PostHog itself says 401",
        ),
        Some(Ok(Answered { status, .. })) => {
            Finding::skipped(format!("PostHog could not be asked: see network.answer (HTTP {status})"))
        }
    }
}

fn http_status(probed: &[Probed]) -> Finding {
    let Some(last) = probed.last() else { return Finding::skipped("nothing was asked") };
    let Answered { status, meaning, .. } = match &last.answer {
        Ok(answered) => answered,
        Err(error) => return Finding::fail(http::describe(error), remedy(error.kind())),
    };
    let seen = format!("HTTP {status}");
    match (meaning, ErrorKind::of_status(*status)) {
        (Err(ErrorKind::Server), _) => {
            Finding::fail(seen, "PostHog or a proxy is in trouble: see its status page, try later")
        }
        (Err(ErrorKind::RateLimited | ErrorKind::QuotaExceeded), _) => {
            Finding::warn(seen, "wait, and look at the limits and the quota in PostHog's billing settings")
        }
        (_, Some(ErrorKind::WrongHost | ErrorKind::BadRequest | ErrorKind::TooLarge)) => {
            Finding::fail(seen, "set POSTHOG_HOST to PostHog's ingestion host: see network.answer")
        }
        _ => Finding::pass(seen),
    }
}

/// What a person can do about an unanswered request.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Dns => "check the host's name and the resolver of this machine: see network.dns",
        ErrorKind::Tls => "see network.tls; behind a proxy that inspects TLS, install its certificate",
        ErrorKind::Timeout => {
            "something drops packets or hangs: firewall, network policy, proxy, or PostHog itself"
        }
        _ => {
            "let this machine reach the host on its port (firewall, network policy), and check host and port"
        }
    }
}

fn answer(probed: &[Probed]) -> Finding {
    const REMEDY: &str = "set POSTHOG_HOST to PostHog's ingestion host; on a captive network sign in, or let this host through";
    let Some(Ok(answered)) = probed.last().map(|probed| &probed.answer) else {
        return Finding::skipped("no answer: see network.http");
    };
    match answered {
        Answered { status: 300..=399, location: Some(host), .. } => {
            Finding::fail(format!("a redirect to {host}: not PostHog, or a captive portal"), REMEDY)
        }
        Answered { meaning: Err(ErrorKind::WrongHost), status: 200..=299, .. } => {
            Finding::fail("an HTML page: a login page, a captive portal or another service", REMEDY)
        }
        Answered { meaning: Err(ErrorKind::WrongHost), status, .. } => {
            Finding::fail(format!("HTTP {status}, which PostHog does not answer here"), REMEDY)
        }
        Answered { meaning: Ok(()), is_posthogs: false, .. } => {
            Finding::fail("HTTP 200, but nothing of PostHog's in it", REMEDY)
        }
        Answered { meaning: Ok(()) | Err(ErrorKind::Unauthorized), .. } => {
            Finding::pass("answers as PostHog does")
        }
        Answered { status, .. } => Finding::skipped(format!("HTTP {status} says nothing about it")),
    }
}

/// A slower answer delays flushes, readiness probes and flags.
const SLOW: Duration = Duration::from_secs(1);

/// The median decides, because the first request includes the handshake.
fn latency(took: &[Duration]) -> Finding {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let (Some(median), Some(worst)) = (sorted.get(sorted.len() / 2), sorted.last()) else {
        return Finding::skipped("no answer: see network.http");
    };
    let seen =
        format!("{} ms, the slowest of {}: {} ms", median.as_millis(), sorted.len(), worst.as_millis());
    Finding::pass(seen).warn_if(
        *median > SLOW,
        "use the region next to the service, and look at the proxy and the line between",
    )
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, LOCATION};

    use super::*;
    use crate::Error;
    use crate::api::Answer;
    use crate::credentials::Key;
    use crate::credentials::ProjectToken;
    use crate::preflight::CheckStatus::{self, Fail, Pass, Skipped, Warn};

    fn answered(status: u16, body: &str, location: Option<&str>) -> Probed {
        let mut headers = HeaderMap::new();
        if let Some(location) = location {
            headers.insert(LOCATION, location.parse().unwrap());
        }
        let answer = Answer { status, headers, body: Ok(body.as_bytes().to_vec()) };
        let token = ProjectToken::parse("phc_abc").unwrap();
        Probed {
            took: Duration::from_millis(5),
            answer: Ok(Answered::read(answer, Some(&token))),
            clock: None,
        }
    }

    fn failed(kind: ErrorKind) -> Probed {
        Probed { took: Duration::ZERO, answer: Err(Error::new(kind)), clock: None }
    }

    /// Token, HTTP, answer.
    #[test]
    fn each_answer_says_something_of_each() {
        let flags = r#"{"flags":{}}"#;
        let rows: [(Probed, [CheckStatus; 3]); 13] = [
            (answered(200, flags, None), [Pass, Pass, Pass]),
            (answered(401, "{}", None), [Fail, Pass, Pass]),
            (answered(403, "", None), [Skipped, Pass, Fail]),
            (answered(402, "", None), [Skipped, Warn, Skipped]),
            (answered(429, "", None), [Skipped, Warn, Skipped]),
            (answered(400, "", None), [Skipped, Fail, Fail]),
            (answered(200, "<html>", None), [Skipped, Pass, Fail]),
            (answered(200, r#"{"a":1}"#, None), [Skipped, Pass, Fail]),
            (answered(302, "", Some("https://login.example/?token=x")), [Skipped, Fail, Fail]),
            (answered(404, "", None), [Skipped, Fail, Fail]),
            (answered(503, "", None), [Skipped, Fail, Skipped]),
            (failed(ErrorKind::Timeout), [Skipped, Fail, Skipped]),
            (failed(ErrorKind::Dns), [Skipped, Fail, Skipped]),
        ];
        for (probed, statuses) in rows {
            let probed = [probed];
            let seen = [token_accepted(&probed, true), http_status(&probed), answer(&probed)];
            assert_eq!(seen.each_ref().map(|finding| finding.status), statuses, "{probed:?} {seen:?}");
        }
        let redirect = answer(&[answered(302, "", Some("https://login.example/?token=x"))]);
        assert_eq!(redirect.seen, "a redirect to login.example: not PostHog, or a captive portal");
        assert_eq!(token_accepted(&[answered(200, flags, None)], false).status, Skipped);
        let redirect = answer(&[answered(302, "", Some("https://phc_abc.example/"))]);
        assert_eq!(redirect.seen, "a redirect to [token].example: not PostHog, or a captive portal");
    }

    #[test]
    fn a_token_that_is_known_at_last_is_known() {
        let known = [answered(401, "{}", None), answered(200, r#"{"flags":{}}"#, None)];
        assert_eq!(token_accepted(&known, true).status, Pass);
    }

    #[test]
    fn latency_warns_above_a_second_by_the_median() {
        let ms = |millis: &[u64]| {
            latency(&millis.iter().map(|&millis| Duration::from_millis(millis)).collect::<Vec<_>>()).status
        };
        assert_eq!(ms(&[5_000, 1_000, 1_000]), Pass);
        assert_eq!(ms(&[5_000, 1_001, 1_000]), Warn);
        assert_eq!(ms(&[1_001]), Warn);
        assert_eq!(ms(&[]), Skipped);
    }
}
