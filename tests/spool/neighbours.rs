use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};

use crate::support::{assert_balanced, capture, until};
use crate::{capture_all, is_ready, leave_behind, spooled};

/// A rolling deploy: the new process starts while the old one still runs.
#[tokio::test]
async fn a_new_process_takes_over_what_its_predecessor_left_and_nothing_before() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::status(503));
    let old = spooled(&server, directory.path()).build().unwrap();
    is_ready(&old).await;
    capture_all(&old, 3_000).await;
    until(|| old.stats().spooled == 3_000).await;
    let new = spooled(&server, directory.path()).build().unwrap();
    is_ready(&new).await;
    capture(&new, 10);
    until(|| new.stats().spooled == 10).await;
    assert!(directory.path().join("spool-1.redb").exists());
    assert_eq!(new.stats().captured, 10, "what the old one holds is its own");

    let report = old.shutdown(Duration::from_secs(1)).await;
    assert_eq!((report.undelivered, report.spooled), (0, 3_000));
    // What the old one had under way ends with its connection: a busy server could still take it after the recovery.
    server.refuse();
    server.recover();
    until(|| new.stats().delivered == 3_010).await;
    assert_eq!((server.distinct(), server.accepted()), (3_010, 3_010));
    assert_eq!((new.stats().captured, new.stats().spooled), (3_010, 0));
    assert_balanced(new.stats());
    new.shutdown(Duration::from_secs(5)).await;

    let third = spooled(&server, directory.path()).build().unwrap();
    until(|| third.stats().captured == 3_010).await;
    assert_eq!(
        (third.stats().spooled, third.stats().delivered),
        (0, 3_010),
        "the totals were taken over too"
    );
    assert_balanced(third.stats());
}

#[tokio::test]
async fn two_clients_at_one_directory_send_each_event_once() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 2_000).await;
    let (one, two) = tokio::join!(async { spooled(&server, directory.path()).build().unwrap() }, async {
        spooled(&server, directory.path()).build().unwrap()
    },);
    capture(&one, 100);
    capture(&two, 100);
    until(|| one.stats().delivered + two.stats().delivered == 2_200).await;
    assert_eq!((server.distinct(), server.accepted()), (2_200, 2_200));
    assert_balanced(one.stats());
    assert_balanced(two.stats());
}
