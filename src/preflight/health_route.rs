use reqwest::Url;
use serde_json::Value;

use super::check::Finding;
use super::http;

const REMEDY: &str = "serve HealthRoute::readiness there, and let this machine reach it";

pub async fn check(url: Option<String>) -> Finding {
    match url.as_deref().map(Url::parse) {
        None => Finding::skipped("its URL was not named (--health-url)"),
        Some(Err(_)) => Finding::fail("not a URL", "name it whole: http://127.0.0.1:8080/readyz"),
        Some(Ok(url)) => match http::get(&url, None).await {
            // The error's own text would speak of PostHog, but this request asks the service.
            Err(error) => Finding::fail(format!("no answer ({})", error.kind().as_str()), REMEDY),
            Ok(answer) => judge(answer.status, answer.body.as_deref().unwrap_or_default()),
        },
    }
}

fn judge(status: u16, body: &[u8]) -> Finding {
    let report: Value = serde_json::from_slice(body).unwrap_or_default();
    let connected = report["posthog"]["connected"].as_bool();
    match (status, report["status"].as_str(), connected) {
        (200, Some("healthy"), Some(true)) => Finding::pass("healthy, connected to PostHog"),
        (200 | 503, Some(_), Some(connected)) => {
            let reasons = report["reasons"].as_array().into_iter().flatten();
            let codes: Vec<_> = reasons.filter_map(|reason| reason["code"].as_str()).take(5).collect();
            Finding::warn(
                format!("degraded ({}), connected: {connected}", codes.join(", ")),
                "see its reasons: curl the route",
            )
        }
        (200, ..) => Finding::fail("HTTP 200, but not a report with PostHog's connectivity", REMEDY),
        _ => Finding::fail(format!("HTTP {status}"), REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Warn};

    #[test]
    fn a_health_route_tells_of_posthog() {
        let judged = |status, body: &str| judge(status, body.as_bytes()).status;
        assert_eq!(judged(200, r#"{"status":"healthy","posthog":{"connected":true}}"#), Pass);
        assert_eq!(judged(200, r#"{"status":"degraded","posthog":{"connected":false}}"#), Warn);
        assert_eq!(judged(503, r#"{"status":"degraded","posthog":{"connected":true}}"#), Warn);
        assert_eq!(judged(200, r#"{"status":"healthy"}"#), Fail);
        assert_eq!(judged(200, "ok"), Fail);
        assert_eq!(judged(404, ""), Fail);
    }
}
