//! Files that somebody removes while a process uses them.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Reason, SpoolIssue, SpoolState};

use crate::support::{assert_balanced, capture, event, until};
use crate::{is_ready, spool, spooled};

/// A clean-up job, a volume that is remounted: what memory has is written again, what it has not is counted.
#[cfg(unix)]
#[tokio::test]
async fn files_that_are_removed_while_in_use_are_noticed_and_made_anew() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    let parent = directory.path().join("spool");
    let posthog = spooled(&server, &parent).request_timeout(Duration::from_secs(600)).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 200);
    posthog.capture_durable(event(200)).await.unwrap();
    until(|| posthog.stats().spooled == 201).await;

    std::fs::remove_dir_all(&parent).unwrap();
    let refused = posthog.capture_durable(event(201)).await.unwrap_err();
    assert_eq!(refused.reason, DropReason::SpoolUnavailable, "nobody would find it");
    until(|| spool(&posthog).state == SpoolState::Failing).await;
    assert_eq!(spool(&posthog).issue, Some(SpoolIssue::Removed));
    assert!(posthog.health().reasons.contains(&Reason::SpoolFailing));
    is_ready(&posthog).await;
    posthog.capture_durable(event(1)).await.unwrap();
    let report = posthog.shutdown(Duration::from_secs(10)).await;
    assert_eq!(report.undelivered, 0, "{report:?}");
    let ledger = posthog.stats();
    assert_balanced(ledger);

    server.recover();
    let next = spooled(&server, &parent).build().unwrap();
    until(|| next.stats().spooled == 0 && next.stats().delivered == report.spooled).await;
    assert_eq!(next.stats().dropped.count(DropReason::Crash), ledger.dropped.count(DropReason::Crash));
}
