use std::time::SystemTime;

use bytes::Bytes;
use reqwest::Url;

use super::check::Finding;
use super::http;
use crate::api::{Batch, BatchId};
use crate::credentials::ProjectToken;
use crate::rt::timestamp;
use crate::{Accepted, Error};

/// The name by which people find the event, or filter it out.
const NAME: &str = "posthog_health_preflight";

/// Sends one event, if it is wanted.
pub async fn check(is_wanted: bool, host: Option<Url>, token: Option<ProjectToken>) -> Finding {
    match (is_wanted, host, token) {
        (false, ..) => Finding::skipped("not asked for (--send-test-event)"),
        (true, Some(host), Some(token)) => judge(send(&host, token).await.as_ref()),
        _ => Finding::skipped("no host or no token: see config.host and config.token"),
    }
}

async fn send(host: &Url, token: ProjectToken) -> Result<Accepted, Error> {
    let event = serde_json::json!({
        "event": NAME,
        "distinct_id": "posthog-health-preflight",
        "timestamp": timestamp(SystemTime::now()),
        "properties": {
            "$process_person_profile": false,
            "$lib": "posthog-health",
            "$lib_version": env!("CARGO_PKG_VERSION"),
        },
    });
    let batch = Batch::new(std::iter::once(Bytes::from(event.to_string())), BatchId::new());
    http::api(host, token).await?.batch(&batch).await.map(|receipt| receipt.accepted)
}

fn judge(result: Result<&Accepted, &Error>) -> Finding {
    match result {
        Ok(Accepted { over_quota: false }) => {
            Finding::pass(format!("{NAME} was taken: look for it in PostHog's activity view"))
        }
        Ok(Accepted { over_quota: true }) => Finding::fail(
            "taken and thrown away: the project is over its quota",
            "raise the limit in PostHog's billing settings, or wait for its renewal",
        ),
        Err(error) => {
            Finding::fail(http::describe(error), "see the network's checks, and config.token_accepted")
        }
    }
}
