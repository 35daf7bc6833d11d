//! PostHog's status page, compared with our own requests. Advice: it warns at most.

use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::check::{Finding, counted};
use super::http;

pub const URL: &str = "https://www.posthogstatus.com/api/v1/summary";
const LONGEST: Duration = Duration::from_secs(4);
/// Longer than the probes may take.
const LONGEST_OF_OURS: Duration = Duration::from_secs(9);

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Summary {
    ongoing_incidents: Vec<Entry>,
    in_progress_maintenances: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: String,
}

/// `connected` tells whether our own requests reach PostHog.
pub async fn check(url: Option<String>, connected: oneshot::Receiver<bool>) -> Finding {
    match url.as_deref().map(Url::parse) {
        None => Finding::skipped("not asked for (--status-page)"),
        Some(Err(_)) => Finding::skipped("the status page's address is not a URL"),
        Some(Ok(url)) => match tokio::join!(timeout(LONGEST, read(&url)), ours(connected)) {
            (Ok(Some(summary)), connected) => judge(&summary, connected),
            _ => Finding::skipped("the status page does not answer as it should"),
        },
    }
}

/// Our own view, if it arrives in time. Advice must not fail because another check hangs.
async fn ours(connected: oneshot::Receiver<bool>) -> Option<bool> {
    timeout(LONGEST_OF_OURS, connected).await.ok()?.ok()
}

async fn read(url: &Url) -> Option<Summary> {
    let body = http::get(url, None).await.ok()?.into_body(SystemTime::now(), Duration::ZERO, "").ok()?;
    parse(&body)
}

pub fn parse(body: &[u8]) -> Option<Summary> {
    serde_json::from_slice(body).ok()
}

pub fn judge(summary: &Summary, connected: Option<bool>) -> Finding {
    let all = summary.ongoing_incidents.iter().chain(&summary.in_progress_maintenances);
    let names: Vec<String> =
        all.take(3).map(|entry| entry.name.chars().filter(|c| !c.is_control()).take(80).collect()).collect();
    let told = format!(
        "{} and {} there",
        counted(summary.ongoing_incidents.len(), "incident"),
        counted(summary.in_progress_maintenances.len(), "maintenance")
    );
    match (names.is_empty(), connected) {
        (true, Some(false)) => Finding::warn(
            "all clear there, no connection here: probably ours",
            "look at this machine's network, proxy and configuration first",
        ),
        (true, _) => Finding::pass("all clear there"),
        (false, Some(false)) => Finding::warn(
            format!("no connection here, {told}: theirs ({})", names.join("; ")),
            "wait until it is over: events are kept, and nothing here needs a change",
        ),
        (false, _) => Finding::warn(
            format!("connected here, {told}: theirs ({})", names.join("; ")),
            "put the rollout off until it is over: what fails then says nothing about the new version",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Pass, Warn};

    #[tokio::test(start_paused = true)]
    async fn our_own_view_is_waited_for_but_not_for_ever() {
        let (_open, never) = oneshot::channel();
        assert_eq!(
            timeout(Duration::from_secs(10), ours(never)).await,
            Ok(None),
            "before the check is given up"
        );
        let (tell, told) = oneshot::channel();
        tell.send(false).unwrap();
        assert_eq!(ours(told).await, Some(false));
    }

    #[test]
    fn theirs_or_ours() {
        let clear: Summary = serde_json::from_str(r#"{"page_title":"PostHog"}"#).unwrap();
        let incident: Summary =
            serde_json::from_str(r#"{"ongoing_incidents":[{"id":"1","name":"Ingestion is slow"}]}"#).unwrap();
        let says = |summary, connected| {
            let Finding { status, seen, .. } = judge(summary, connected);
            (status, seen)
        };
        assert_eq!(says(&clear, Some(true)), (Pass, "all clear there".into()));
        assert!(says(&clear, Some(false)).1.ends_with("probably ours"));
        let (status, seen) = says(&incident, Some(false));
        assert!(status == Warn && seen.contains("theirs (Ingestion is slow)"), "{seen}");
        assert_eq!(says(&incident, None).0, Warn);
        assert_eq!(says(&incident, Some(true)).0, Warn);
    }
}
