//! A disk that does not answer: no error, no end.

use std::time::Duration;

use tokio::time::timeout;

use super::super::config::{SpoolConfig, SpoolMode};
use super::failing_disk::Faults;
use super::keeper::{FIRST, Process, is_balanced, leave_in_a_second_file};
use crate::delivery::DropReason;
use crate::delivery::queue::{SpoolIssue, SpoolState, State};

fn hangs(state: SpoolState, issue: Option<SpoolIssue>) -> bool {
    state == SpoolState::Failing && issue.is_some_and(|issue| issue.code() == "spool_hangs")
}

fn write_ahead(config: SpoolConfig) -> SpoolConfig {
    config.mode(SpoolMode::WriteAhead)
}

/// What comes in time. A disk that hangs would keep a test waiting for ever.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("nobody waits for a disk that hangs")
}

#[tokio::test]
async fn a_write_that_hangs_costs_nothing_but_the_spool() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start_with(&directory, &faults, FIRST, write_ahead);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.capture(100);
    process.wait(|ledger, _, _| ledger.spooled == 100);

    faults.hang();
    process.capture(100);
    let awaited = process.capture_durable();
    process.wait(|_, state, issue| hangs(state, issue));
    assert_eq!(in_time(awaited).await.unwrap(), Err(DropReason::SpoolUnavailable));
    assert_eq!(in_time(process.capture_durable()).await.unwrap(), Err(DropReason::SpoolUnavailable));
    process.capture(100);
    process.deliver(300);

    // The write comes back after all.
    faults.release();
    process.wait(|_, state, issue| state == SpoolState::Ready && issue.is_none());
    assert_eq!(in_time(process.capture_durable()).await.unwrap(), Ok(()));
    process.deliver(301);
    assert!(is_balanced(process.queue.ledger()));
    let ledger = process.end().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.spooled), (303, 301, 0));
    assert_eq!(ledger.dropped.count(DropReason::SpoolUnavailable), 2);

    let next = Process::start(&directory, &faults, FIRST + 10_000);
    next.wait(|_, state, _| state == SpoolState::Ready);
    let ledger = next.queue.ledger();
    assert_eq!((ledger.captured, ledger.delivered, ledger.spooled), (303, 301, 0), "{ledger:?}");
    assert_eq!(ledger.dropped.total(), 2, "{ledger:?}");
}

/// The same when the write fails in the end: the file is opened again, and has what memory has still.
#[tokio::test]
async fn a_write_that_hangs_and_fails_then_costs_no_more() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.queue.step(|state| state.set_in_trouble(true));
    faults.hang();
    process.capture(200);
    process.wait(|_, state, issue| hangs(state, issue));
    faults.fail_writes(Some(std::io::ErrorKind::Other));
    faults.release();
    process.wait(|_, state, issue| state == SpoolState::Failing && issue == Some(SpoolIssue::Io));
    faults.fail_writes(None);
    process.wait(|ledger, _, issue| ledger.spooled == 200 && issue.is_none());
    process.deliver(200);
    let ledger = process.end().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.dropped.total()), (200, 200, 0));
}

#[tokio::test]
async fn a_file_whose_opening_hangs_is_not_waited_for() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    faults.hang();
    let process = Process::start_with(&directory, &faults, FIRST, write_ahead);
    process.capture(100);
    let awaited = process.capture_durable();
    process.wait(|_, state, issue| hangs(state, issue));
    assert_eq!(in_time(awaited).await.unwrap(), Err(DropReason::SpoolUnavailable));
    process.deliver(100);
    faults.release();
    process.wait(|_, state, issue| state == SpoolState::Ready && issue.is_none());
    assert_eq!(in_time(process.capture_durable()).await.unwrap(), Ok(()));
    process.deliver(101);
    process.end().await;
}

#[tokio::test]
async fn a_disk_that_never_answers_is_left_behind_at_the_end() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start_with(&directory, &faults, FIRST, write_ahead);
    process.wait(|_, state, _| state == SpoolState::Ready);
    faults.hang();
    process.capture(100);
    process.queue.close();
    process.deliver(100);
    let ledger = in_time(process.end()).await;
    assert_eq!((ledger.delivered, ledger.dropped.total()), (100, 0));
    faults.release();
}

/// Nor does a file that another process left, and that takes for ever to be checked or read.
#[tokio::test]
async fn a_neighbours_file_that_hangs_is_in_nobodys_way() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    leave_in_a_second_file(&directory, &faults, 500).await;
    let locked = std::fs::File::create(directory.path().join("spool-1.lock")).unwrap();
    locked.lock().unwrap();
    let process = Process::start(&directory, &faults, FIRST + 100_000);
    process.wait(|_, state, _| state == SpoolState::Ready);
    faults.hang_files_opened_later();
    let opened = faults.opened();
    locked.unlock().unwrap();
    // It is found by the next search.
    process.wait(|_, _, _| faults.opened() > opened);
    assert_eq!(in_time(process.capture_durable()).await.unwrap(), Ok(()));
    std::thread::sleep(Duration::from_millis(2_500));
    let health = process.queue.snapshot().spool.unwrap();
    assert_eq!((health.state, health.issue), (SpoolState::Ready, None));
    assert_eq!(in_time(process.capture_durable()).await.unwrap(), Ok(()));
    faults.release();
    process.deliver(502);
    assert!(is_balanced(process.queue.ledger()));
    process.queue.step(State::make_due);
    process.end().await;
}
