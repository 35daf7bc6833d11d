use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Url;

use super::ask;
use super::check::{CheckId, Finding, Findings};
use crate::api::{Api, Batch, Compressors};
use crate::credentials::{Credentials, ProjectToken};
use crate::rt::timestamp;
use crate::{Accepted, Error};

pub(super) const IDS: &[CheckId] = &[CheckId::TestEvent];

/// By which it can be found, and filtered out.
const NAME: &str = "posthog_health_preflight";

/// Sends one event, by a road of its own: no queue, no retry.
pub(super) async fn check(is_wanted: bool, host: Option<Url>, token: Option<ProjectToken>) -> Findings {
    let finding = match (is_wanted, host, token) {
        (false, ..) => Finding::skipped("not asked for (--send-test-event)"),
        (true, Some(host), Some(token)) => judge(send(&host, token).await.as_ref()),
        _ => Finding::skipped("no host or no token: see config.host and config.token"),
    };
    vec![(CheckId::TestEvent, finding)]
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
    let api = Api {
        http: ask::client_of(host).await?,
        host: host.clone(),
        tokens: Credentials::fixed(token),
        longest_retry_after: Duration::ZERO,
        compressors: Some(Compressors::default()),
    };
    api.batch(&Batch::new(std::iter::once(Bytes::from(event.to_string())))).await
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
        Err(error) => Finding::fail(ask::told(error), "see the network's checks, and config.token_accepted"),
    }
}
