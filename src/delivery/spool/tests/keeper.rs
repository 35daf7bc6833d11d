//! The thread and the queue together, over a disk that fails.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::config::SpoolConfig;
use super::super::thread::Spool;
use super::failing_disk::Faults;
use super::set_version;
use crate::config::Settings;
use crate::delivery::ledger::Account;
use crate::delivery::queue::{Queue, QueuedEvent, SpoolIssue, SpoolState, State};
use crate::delivery::{DropReason, Ledger};

pub struct Process {
    pub queue: Arc<Queue>,
    spool: Spool,
}

pub const FIRST: u64 = 1 << 60;

impl Process {
    pub fn start(directory: &tempfile::TempDir, faults: &Faults, first_seq: u64) -> Self {
        Self::start_with(directory, faults, first_seq, |config| config)
    }

    pub fn start_with(
        directory: &tempfile::TempDir,
        faults: &Faults,
        first_seq: u64,
        change: fn(SpoolConfig) -> SpoolConfig,
    ) -> Self {
        let config = change(SpoolConfig::at(directory.path()).min_free_disk(0));
        Self::start_by(first_seq, |queue| Spool::start_with(faults, queue, config))
    }

    pub fn start_by(first_seq: u64, start: impl FnOnce(&Arc<Queue>) -> Spool) -> Self {
        let queue = Arc::new(Queue::new(Settings::default().limits, first_seq, None));
        let spool = start(&queue);
        Self { queue, spool }
    }

    pub fn capture(&self, events: usize) {
        static UUID: AtomicU64 = AtomicU64::new(0);
        for _ in 0..events {
            let json = format!(r#"{{"uuid":"{:020}"}}"#, UUID.fetch_add(1, Ordering::Relaxed));
            self.queue.enter(json.into(), None);
        }
        self.queue.step(State::make_due);
    }

    /// Captures an event that somebody waits for to be on disk.
    pub fn capture_durable(&self) -> oneshot::Receiver<Result<(), DropReason>> {
        let (waiter, told) = oneshot::channel();
        self.queue.enter(Bytes::from_static(b"{}"), Some(waiter));
        told
    }

    pub fn wait(&self, condition: impl Fn(Ledger, SpoolState, Option<SpoolIssue>) -> bool) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let snapshot = self.queue.snapshot();
            let spool = snapshot.spool.unwrap();
            if condition(snapshot.ledger, spool.state, spool.issue) {
                return;
            }
            assert!(std::time::Instant::now() < until, "it never came: {snapshot:?}");
            std::thread::yield_now();
        }
    }

    /// What the worker does when PostHog takes everything.
    pub fn deliver(&self, events: u64) {
        self.wait(|ledger, _, _| {
            self.take_and_settle();
            ledger.delivered == events
        });
    }

    fn take_and_settle(&self) -> Vec<bytes::Bytes> {
        self.queue.step(State::make_due);
        let batches = [true, false].into_iter().filter_map(|from_disk| {
            self.queue.step(|state| state.take((state.limits.batch_events, 1 << 20), from_disk))
        });
        let settle = |batch: Vec<QueuedEvent>| {
            self.queue.settle(&batch, Account::Delivered);
            batch.into_iter().map(|event| event.json)
        };
        batches.flat_map(settle).collect()
    }

    /// Delivers until so many different events were, and gives how many came in all.
    pub fn collect(&self, events: usize) -> usize {
        let mut delivered = Vec::new();
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            delivered.extend(self.take_and_settle());
            let distinct = delivered.iter().collect::<std::collections::BTreeSet<_>>().len();
            if distinct == events {
                return delivered.len();
            }
            assert!(std::time::Instant::now() < until, "{distinct} {:?}", self.queue.snapshot());
            std::thread::yield_now();
        }
    }

    pub async fn end(self) -> Ledger {
        self.queue.close();
        self.wait(|ledger, _, _| ledger.queued == 0);
        self.queue.abandon();
        self.spool.ended().await;
        self.queue.ledger()
    }
}

/// Whatever fails, whenever: events stay in memory, go to disk when it works again, and each is there once.
async fn a_fault_costs_nothing(break_it: fn(&Faults, Option<ErrorKind>), kind: ErrorKind, issue: SpoolIssue) {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(1_000);
    process.wait(|ledger, _, _| ledger.spooled == 1_000);

    break_it(&faults, Some(kind));
    process.capture(500);
    process.wait(|_, state, seen| state == SpoolState::Failing && seen == Some(issue));
    process.capture(500);
    let ledger = process.queue.ledger();
    assert_eq!((ledger.queued, ledger.spooled, ledger.dropped.total()), (1_000, 1_000, 0));
    let refused = process.capture_durable().await.unwrap();
    assert_eq!(refused, Err(DropReason::SpoolUnavailable));

    break_it(&faults, None);
    process.wait(|ledger, state, issue| {
        state == SpoolState::Ready && issue.is_none() && ledger.spooled == 2_000
    });
    let ledger = process.end().await;
    assert_eq!((ledger.queued, ledger.spooled), (0, 2_000));

    let next = Process::start(&directory, &faults, FIRST + 10_000);
    next.deliver(2_000);
    let ledger = next.end().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.dropped.total()), (2_001, 2_000, 1));
}

#[tokio::test]
async fn a_disk_that_fills_up_while_running_costs_nothing() {
    a_fault_costs_nothing(Faults::fail_writes, ErrorKind::StorageFull, SpoolIssue::DiskFull).await;
}

#[tokio::test]
async fn a_failing_fsync_costs_nothing() {
    a_fault_costs_nothing(Faults::fail_syncs, ErrorKind::Other, SpoolIssue::Io).await;
}

/// A rolled back release: the file waits for its version, and a new one is begun beside it.
#[tokio::test]
async fn a_file_of_a_later_version_is_left_alone_and_seen() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(10);
    process.end().await;
    let set = |version| set_version(redb::Database::open(directory.path().join("spool-0.redb")), version);
    set(2);

    let older = Process::start(&directory, &faults, FIRST + 1_000);
    older.wait(|_, state, issue| state == SpoolState::Ready && issue == Some(SpoolIssue::Newer));
    older.queue.step(|state| state.set_in_trouble(true));
    older.capture(5);
    let ledger = older.end().await;
    assert_eq!((ledger.captured, ledger.spooled), (5, 5));
    set(1);

    let newer = Process::start(&directory, &faults, FIRST + 2_000);
    newer.deliver(15);
    newer.end().await;
}

/// A file whose events have higher numbers than ours is no predecessor of ours as it is.
#[tokio::test]
async fn a_clock_that_was_set_back_costs_nothing() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(2_500);
    process.end().await;
    let earlier = Process::start(&directory, &faults, FIRST / 2);
    earlier.capture(100);
    earlier.deliver(2_600);
    let ledger = earlier.end().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.spooled), (2_600, 2_600, 0));
}

/// The file that a clock that was set back leaves behind was opened as our own. It drops nothing by itself for all that.
#[tokio::test]
async fn what_expires_after_a_clock_was_set_back_is_counted() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(2_500);
    process.end().await;
    std::thread::sleep(Duration::from_millis(1_200));
    let earlier =
        Process::start_with(&directory, &faults, FIRST / 2, |config| config.max_age(Duration::from_secs(1)));
    let expired = DropReason::SpoolExpired;
    earlier.wait(|ledger, _, _| ledger.captured == 2_500 && ledger.dropped.count(expired) == 2_500);
    assert!(is_balanced(earlier.queue.ledger()));
}

/// Two processes at once, of which the second leaves events behind.
pub async fn leave_in_a_second_file(directory: &tempfile::TempDir, faults: &Faults, events: usize) {
    let first = Process::start(directory, faults, FIRST);
    first.wait(|_, state, _| state == SpoolState::Ready);
    let second = Process::start(directory, faults, FIRST + 10_000);
    second.queue.step(|state| state.set_in_trouble(true));
    second.capture(events);
    second.end().await;
    first.end().await;
}

pub fn is_balanced(ledger: Ledger) -> bool {
    let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = ledger;
    captured == delivered + queued + spooled + dead_lettered + dropped.total()
}

/// After an I/O error, too, what is taken over gets numbers of its own.
#[tokio::test]
async fn what_is_taken_over_after_an_error_does_not_overwrite_our_own() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(1_000);
    process.wait(|ledger, _, _| ledger.spooled == 1_000);

    let other = Process::start(&directory, &Faults::default(), FIRST + 10_000);
    other.queue.step(|state| state.set_in_trouble(true));
    other.capture(500);
    other.wait(|ledger, _, _| ledger.spooled == 500);
    faults.fail_writes(Some(ErrorKind::StorageFull));
    process.capture(1);
    process.wait(|_, state, _| state == SpoolState::Failing);
    other.end().await;
    faults.fail_writes(None);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.wait(|ledger, _, _| ledger.captured == 1_501);
    assert_eq!(process.collect(1_501), 1_501);
    assert!(is_balanced(process.queue.ledger()));
}

/// What is too old in a file that is taken over ends here, and is counted here.
#[tokio::test]
async fn what_expires_while_it_is_taken_over_is_counted() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    leave_in_a_second_file(&directory, &faults, 2_500).await;
    std::thread::sleep(Duration::from_millis(1_200));
    let third = Process::start_with(&directory, &faults, FIRST + 100_000, |config| {
        config.max_age(Duration::from_secs(1))
    });
    let expired = DropReason::SpoolExpired;
    third.wait(|ledger, _, _| ledger.captured == 2_500 && ledger.dropped.count(expired) == 2_500);
    assert!(is_balanced(third.queue.ledger()));
}

/// Notes are for the case of a kill; without them everything goes on.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_note_that_cannot_be_written_keeps_nothing_from_being_sent() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(2_000);
    process.end().await;
    let lock = directory.path().join("spool-0.lock");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("/dev/full", &lock).unwrap();
    let next = Process::start(&directory, &faults, FIRST + 10_000);
    assert_eq!(next.collect(2_000), 2_000);
}

/// A snapshot of the disk is restored while the file is closed: what memory still has is delivered.
#[tokio::test]
async fn a_file_that_was_put_back_to_an_earlier_state() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(1);
    process.wait(|ledger, _, _| ledger.spooled == 1);
    let file = directory.path().join("spool-0.redb");
    let before = std::fs::read(&file).unwrap();
    process.capture(100);
    process.wait(|ledger, _, _| ledger.spooled == 101);
    faults.fail_writes(Some(ErrorKind::Other));
    process.capture(10);
    process.wait(|_, state, _| state == SpoolState::Failing);
    std::fs::write(&file, &before).unwrap();
    faults.fail_writes(None);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.deliver(111);
    assert_eq!(process.queue.ledger().dropped.total(), 0);
}

/// What does not fit stays where it is.
#[tokio::test]
async fn nothing_is_taken_over_into_a_full_spool() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    leave_in_a_second_file(&directory, &faults, 2_500).await;

    let third = Process::start_with(&directory, &faults, FIRST + 100_000, |config| config.max_bytes(150_000));
    third.wait(|ledger, _, _| ledger.spooled > 0);
    std::thread::sleep(Duration::from_millis(500));
    let ledger = third.queue.ledger();
    assert!(ledger.spooled < 2_500 && ledger.dropped.total() == 0, "{ledger:?}");
    third.end().await;
    let last = Process::start(&directory, &faults, FIRST + 200_000);
    last.deliver(2_500);
    let ledger = last.end().await;
    assert_eq!((ledger.captured, ledger.dropped.total()), (2_500, 0));
}

/// A salvage may bring back what was delivered: it is counted again, and delivered again.
#[tokio::test]
async fn a_file_that_is_damaged_at_run_time_gives_back_what_was_delivered() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.queue.step(|state| state.set_in_trouble(true));
    for n in 1..=6 {
        process.capture(1_000);
        process.wait(|ledger, _, _| ledger.spooled == n * 1_000);
    }
    process.queue.step(|state| state.set_in_trouble(false));
    // The oldest batch is slow, others overtake it.
    let mut slow = None;
    while slow.is_none() {
        let take = |from_disk| {
            process.queue.step(|state| state.take((state.limits.batch_events, 1 << 20), from_disk))
        };
        slow = take(true).or_else(|| take(false));
    }
    let slow = slow.unwrap();
    process.wait(|ledger, _, _| {
        process.take_and_settle();
        ledger.delivered >= 3_000
    });
    // The file is told once a second what was delivered.
    std::thread::sleep(Duration::from_millis(1_500));
    faults.fail_writes(Some(ErrorKind::Other));
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(1);
    process.wait(|_, state, _| state == SpoolState::Failing);
    let file = directory.path().join("spool-0.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..4096].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    faults.fail_writes(None);
    process.wait(|_, state, issue| state == SpoolState::Ready && issue == Some(SpoolIssue::Damaged));
    process.queue.step(|state| state.set_in_trouble(false));
    process.queue.give_back(&slow);
    process.wait(|ledger, _, _| {
        process.take_and_settle();
        ledger.queued + ledger.spooled == 0 && is_balanced(ledger)
    });
}

/// Not only in the slot that this process would have taken.
#[tokio::test]
async fn a_neighbours_file_of_a_later_version_is_seen_too() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    leave_in_a_second_file(&directory, &faults, 10).await;
    let set = |version| set_version(redb::Database::open(directory.path().join("spool-1.redb")), version);
    set(2);
    let process = Process::start(&directory, &faults, FIRST + 100_000);
    process.wait(|_, state, issue| state == SpoolState::Ready && issue == Some(SpoolIssue::Newer));
    process.end().await;
    set(1);
    let newer = Process::start(&directory, &faults, FIRST + 200_000);
    newer.deliver(10);
    newer.wait(|_, _, issue| issue.is_none());
}

/// By a clean-up job for stale locks, say: the file is still ours, and nothing in it is counted twice.
#[cfg(unix)]
#[tokio::test]
async fn a_lock_that_is_removed_while_in_use_costs_nothing() {
    let (directory, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let process = Process::start(&directory, &faults, FIRST);
    process.wait(|_, state, _| state == SpoolState::Ready);
    process.queue.step(|state| state.set_in_trouble(true));
    process.capture(100);
    process.wait(|ledger, _, _| ledger.spooled == 100);
    std::fs::remove_file(directory.path().join("spool-0.lock")).unwrap();
    process.capture(1);
    process.wait(|_, state, issue| state == SpoolState::Failing && issue == Some(SpoolIssue::Removed));
    process.wait(|ledger, state, _| state == SpoolState::Ready && ledger.spooled == 101);
    assert!(directory.path().join("spool-0.lock").exists());
    assert!(!directory.path().join("spool-1.redb").exists());
    assert_eq!(process.collect(101), 101);
    let ledger = process.end().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.dropped.total()), (101, 101, 0));
}
