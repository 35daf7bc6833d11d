//! What a long outage costs with a spool.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::service_fn;

use crate::api::{Batch, Protocols, Receipt};
use crate::client::pipeline::pipeline;
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::{DropReason, Faults, Ledger, Queue, Spool, SpoolConfig, SpoolMode, SpoolState};
use crate::layers::{CircuitBreakerConfig, RateLimitConfig};
use crate::{Error, ErrorKind};

/// What PostHog would have: each event's uuid.
#[derive(Clone, Default)]
struct Sink {
    is_up: Arc<AtomicBool>,
    uuids: Arc<Mutex<HashSet<Bytes>>>,
    accepted: Arc<Mutex<usize>>,
}

impl Sink {
    fn take(&self, batch: &Batch) -> Result<Receipt, Error> {
        if !self.is_up.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Server).with_status(503));
        }
        *self.accepted.lock().unwrap() += batch.events.len();
        let uuid = |event: &Bytes| event.slice(r#"{"uuid":""#.len()..r#"{"uuid":""#.len() + 36);
        self.uuids.lock().unwrap().extend(batch.events.iter().map(uuid));
        Ok(Receipt::TAKEN)
    }
}

/// Of the next event of either process.
static UUID: AtomicU64 = AtomicU64::new(0);

/// A service's process.
struct Process {
    queue: Arc<Queue>,
    spool: Spool,
    worker: JoinHandle<()>,
}

impl Process {
    fn start(directory: &Path, sink: &Sink) -> Self {
        Self::start_with(sink, |queue| Spool::start(queue, SpoolConfig::at(directory)))
    }

    fn start_with(sink: &Sink, spool: impl FnOnce(&Arc<Queue>) -> Spool) -> Self {
        let millis = Duration::from_millis;
        // The breaker's and the limiter's clocks are real, so their times are short.
        let settings = Settings {
            circuit_breaker: CircuitBreakerConfig::default().open_time(millis(1), millis(5)),
            rate_limit: RateLimitConfig::default().rate(100_000).burst(100_000),
            ..Settings::default()
        };
        let first_number =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let queue = Arc::new(Queue::new(settings.limits.clone(), first_number, None));
        let sink = sink.clone();
        let service = service_fn(move |batch: Batch| {
            let answer = sink.take(&batch);
            async move {
                sleep(millis(20)).await;
                answer
            }
        });
        let credentials = Opened::open("phc_test".into()).unwrap().credentials;
        let worker = pipeline(&queue, &settings, &credentials, &Protocols::v0(), service).unwrap().worker;
        let spool = spool(&queue);
        let worker = tokio::spawn(worker.run());
        Self { queue, spool, worker }
    }

    fn capture(&self, events: usize) {
        for _ in 0..events {
            let uuid = UUID.fetch_add(1, Ordering::Relaxed);
            let json = format!(r#"{{"uuid":"{uuid:036}"}}"#);
            self.queue.enter(json.into(), None);
        }
    }

    /// Captures 200 events a second for so long. The disk is as fast as it is, so the clock waits for it.
    async fn live(&self, seconds: usize) {
        for _ in 0..seconds {
            self.capture(200);
            sleep(Duration::from_secs(1)).await;
            while self.queue.ledger().queued >= 6_000 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets the clock run meanwhile.
    async fn wait(&self, condition: impl Fn(Ledger) -> bool) {
        while !condition(self.queue.ledger()) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn shut_down(self) -> Ledger {
        self.queue.close();
        self.wait(|ledger| ledger.queued == 0).await;
        self.worker.abort();
        let _ = self.worker.await;
        assert_eq!(self.queue.abandon(), 0);
        self.spool.ended().await;
        self.queue.ledger()
    }
}

/// One hour at 200 events a second without PostHog, with a restart in the middle: 720,000 events, all
/// delivered, each once.
#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_with_a_restart_in_the_middle_loses_nothing() {
    let (directory, sink) = (tempfile::tempdir().unwrap(), Sink::default());
    let first = Process::start(directory.path(), &sink);
    first.live(1_800).await;
    let ledger = first.shut_down().await;
    assert_eq!((ledger.captured, ledger.spooled, ledger.dropped.total()), (360_000, 360_000, 0));

    let second = Process::start(directory.path(), &sink);
    second.live(1_800).await;
    sink.is_up.store(true, Ordering::Relaxed);
    second.wait(|ledger| ledger.delivered == 720_000).await;
    assert_eq!(sink.uuids.lock().unwrap().len(), 720_000);
    assert_eq!(*sink.accepted.lock().unwrap(), 720_000);
    let ledger = second.shut_down().await;
    assert_eq!((ledger.captured, ledger.delivered, ledger.spooled), (720_000, 720_000, 0));
    assert_eq!(ledger.dropped.count(DropReason::Crash), 0);
}

/// Write-ahead on a disk whose `fsync` does not return: PostHog is well, so every event arrives, also those that wait for the
/// disk when the client is shut down.
#[tokio::test]
async fn a_disk_that_hangs_stops_no_delivery_and_no_shutdown() {
    let (directory, sink, faults) = (tempfile::tempdir().unwrap(), Sink::default(), Faults::default());
    sink.is_up.store(true, Ordering::Relaxed);
    let config = SpoolConfig::at(directory.path()).mode(SpoolMode::WriteAhead);
    let process = Process::start_with(&sink, |queue| Spool::start_with(&faults, queue, config));
    let is = |state| process.queue.snapshot().spool.is_some_and(|spool| spool.state == state);
    process.wait(|_| is(SpoolState::Ready)).await;
    faults.hang();
    process.capture(5_000);
    let long = Duration::from_secs(30);
    timeout(long, process.wait(|ledger| ledger.delivered == 5_000)).await.expect("PostHog is well");
    assert!(is(SpoolState::Failing));

    // It answers, and hangs again just before the end.
    faults.release();
    process.wait(|_| is(SpoolState::Ready)).await;
    faults.hang();
    process.capture(5_000);
    process.queue.close();
    timeout(long, process.worker).await.expect("nothing is left to send").unwrap();
    assert_eq!((process.queue.ledger().delivered, process.queue.abandon()), (10_000, 0));
    timeout(long, process.spool.ended()).await.expect("the thread is left behind");
    faults.release();
}
