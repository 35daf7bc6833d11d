//! A worker over a service without layers, in simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tower::{Service, service_fn};

use super::{Dispatcher, DispatcherLinks, Pacing, Worker, attempts};
use crate::api::{Batch, Protocols, Receipt};
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::Queue;
use crate::layers::CircuitState;
use crate::{Error, ErrorKind};

fn enter(queue: &Queue, event: &str) {
    queue.enter(Bytes::from(format!("{event:?}")), None);
}

/// Runs a worker without layers until its queue is closed and empty.
async fn run<S>(queue: &Arc<Queue>, service: S, pacing: Pacing, setback: (Duration, Duration))
where
    S: Service<Batch, Response = Receipt, Error = Error, Future: Send> + Clone + Send + 'static,
{
    let credentials = Opened::open("phc_test".into()).unwrap().credentials;
    let breaker = watch::Sender::new(CircuitState::Closed);
    let dispatcher = Dispatcher::new(
        Arc::clone(queue),
        pacing,
        setback,
        DispatcherLinks {
            credentials,
            breaker: breaker.subscribe(),
            forgiven: Arc::default(),
            verdicts: Arc::default(),
            protocols: Protocols::v0(),
        },
    );
    let attempts = attempts(Arc::clone(&dispatcher), service);
    Worker::new(dispatcher, attempts.clone(), attempts).run().await;
}

/// A call takes so long.
const CALL: Duration = Duration::from_secs(1);

/// A worker with these first and longest setbacks, and the times at which it calls a service that fails while the
/// switch says so.
async fn start(
    setback: (Duration, Duration),
) -> (Arc<Queue>, watch::Sender<bool>, mpsc::UnboundedReceiver<Instant>) {
    let settings = Settings::default();
    let queue = Arc::new(Queue::new(settings.limits, 1, None));
    let (called, calls) = mpsc::unbounded_channel();
    let (switch, fails) = watch::channel(true);
    let service = service_fn(move |_: Batch| {
        let (called, fails) = (called.clone(), fails.clone());
        async move {
            let _ = called.send(Instant::now());
            sleep(CALL).await;
            if *fails.borrow() { Err(Error::new(ErrorKind::Server)) } else { Ok(Receipt::TAKEN) }
        }
    });
    enter(&queue, "page viewed");
    tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { run(&queue, service, settings.pacing, setback).await }
    });
    queue.flush();
    while calls.is_empty() {
        tokio::task::yield_now().await;
    }
    (queue, switch, calls)
}

fn drain(calls: &mut mpsc::UnboundedReceiver<Instant>) -> Vec<Instant> {
    std::iter::from_fn(|| calls.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_of_a_batch_there_are_pauses_that_grow_until_a_success() {
    let (first, longest) = (Duration::from_secs(10), Duration::from_secs(600));
    let (queue, fails, mut calls) = start((first, longest)).await;
    let pauses = |n| sleep(longest * n);
    pauses(20).await;
    let failed = drain(&mut calls);
    // Five minutes each, in the middle; ten seconds at most if they did not grow.
    assert!((10..120).contains(&failed.len()), "{}", failed.len());
    let longest_gap = failed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest_gap > 10 * first && longest_gap <= longest + 2 * CALL, "{longest_gap:?}");
    assert_eq!(queue.ledger().queued, 1);

    fails.send(false).unwrap();
    pauses(2).await;
    assert_eq!(queue.ledger().delivered, 1);
    drain(&mut calls);
    fails.send(true).unwrap();
    enter(&queue, "page viewed");
    pauses(1).await;
    let failed = drain(&mut calls);
    assert!(failed[1] - failed[0] <= first + 2 * CALL, "{:?}: the first pause again", failed[1] - failed[0]);
}

#[tokio::test(start_paused = true)]
async fn batches_are_halved_until_they_are_taken_and_grow_back_when_more_is() {
    let mut settings = Settings::default();
    settings.limits.batch_bytes = 64 * 1024;
    settings.pacing.in_flight = 1;
    let (queue, most) = (Arc::new(Queue::new(settings.limits, 1, None)), watch::Sender::new(20_000));
    let (sent, mut sizes) = mpsc::unbounded_channel();
    let takes = most.subscribe();
    let service = service_fn(move |batch: Batch| {
        let bytes: usize = batch.events.iter().map(|event| event.len()).sum();
        let is_taken = bytes <= *takes.borrow();
        let _ = sent.send((bytes, is_taken));
        let refusal = || Error::new(ErrorKind::TooLarge).with_status(413);
        std::future::ready(is_taken.then_some(Receipt::TAKEN).ok_or_else(refusal))
    });
    tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { run(&queue, service, settings.pacing, (CALL, CALL)).await }
    });
    let deliver = async |events: u64| {
        for _ in 0..events {
            enter(&queue, &"x".repeat(2_000));
        }
        queue.settled(queue.flush()).await;
    };
    deliver(100).await;
    let refused = std::iter::from_fn(|| sizes.try_recv().ok()).filter(|(_, is_taken)| !is_taken).count();
    assert_eq!(refused, 2, "64 and 32 KiB");
    most.send(usize::MAX).unwrap();
    deliver(4_000).await;
    let largest = std::iter::from_fn(|| sizes.try_recv().ok()).map(|(bytes, _)| bytes).max();
    assert!(largest.is_some_and(|bytes| bytes > 60 * 1024), "{largest:?}");
    assert_eq!(queue.ledger().delivered, 4_100);
}

/// A worker whose requests of one event each fare by their order, and when each began.
fn start_with(
    settings: Settings,
    answer: fn(usize) -> Result<Receipt, Error>,
) -> (Arc<Queue>, mpsc::UnboundedReceiver<Instant>) {
    let queue = Arc::new(Queue::new(settings.limits, 1, None));
    let (called, calls) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let service = service_fn(move |_: Batch| {
        let _ = called.send(Instant::now());
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(if n == 0 { CALL } else { 2 * CALL }).await;
            answer(n)
        }
    });
    let hour = Duration::from_secs(3600);
    tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { run(&queue, service, settings.pacing, (hour, hour)).await }
    });
    (queue, calls)
}

#[tokio::test(start_paused = true)]
async fn pauses_after_refusals_grow_from_a_second_to_the_longest() {
    let mut settings = Settings::default();
    settings.pacing.refusal_pause = Duration::from_secs(60);
    let (queue, mut calls) =
        start_with(settings, |_| Err(Error::new(ErrorKind::Unauthorized).with_status(401)));
    enter(&queue, "page viewed");
    queue.flush();
    while calls.is_empty() {
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_secs(300)).await;
    let calls = drain(&mut calls);
    let gaps: Vec<_> = calls.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    // The first call takes a second and each other two.
    assert_eq!(gaps[..8], [2, 4, 6, 10, 18, 34, 62, 62]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_taken_ends_the_pause_after_one_that_was_not() {
    let mut settings = Settings::default();
    (settings.limits.batch_events, settings.pacing.in_flight) = (1, 2);
    let answer = |n| match n {
        0 => Err(Error::new(ErrorKind::Server).with_status(503)),
        _ => Ok(Receipt::TAKEN),
    };
    let (queue, calls) = start_with(settings, answer);
    (0..2).for_each(|_| enter(&queue, "page viewed"));
    queue.flush();
    while calls.is_empty() {
        tokio::task::yield_now().await;
    }
    sleep(CALL * 10).await;
    assert_eq!(queue.ledger().delivered, 2, "and not after the pause of up to an hour");
}

/// A worker over a service that rejects batches with a poisoned event, a second each.
async fn start_rejecting() -> Arc<Queue> {
    let mut settings = Settings::default();
    settings.pacing.refusal_pause = Duration::from_secs(3600);
    let queue = Arc::new(Queue::new(settings.limits, 1, None));
    let service = service_fn(move |batch: Batch| async move {
        sleep(CALL).await;
        let is_bad = batch.events.iter().any(|event| String::from_utf8_lossy(event).contains("poisoned"));
        let refusal = || Error::new(ErrorKind::BadRequest).with_status(400);
        (!is_bad).then_some(Receipt::TAKEN).ok_or_else(refusal)
    });
    tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { run(&queue, service, settings.pacing, (CALL, CALL)).await }
    });
    enter(&queue, "good");
    queue.settled(queue.flush()).await;
    queue
}

fn capture(queue: &Queue, events: usize, is_bad: impl Fn(usize) -> bool) {
    (0..events).for_each(|n| enter(queue, if is_bad(n) { "poisoned" } else { "good" }));
}

#[tokio::test(start_paused = true)]
async fn a_search_goes_on_as_long_as_good_events_are_found() {
    let queue = start_rejecting().await;
    capture(&queue, 100, |n| n % 10 == 5);
    queue.flush();
    // Some hundred requests, of which many more are rejected than may be in a row, and far less than a pause.
    sleep(CALL * 1_000).await;
    let ledger = queue.ledger();
    assert_eq!((ledger.delivered, ledger.dead_lettered), (91, 10));
}

#[tokio::test(start_paused = true)]
async fn others_do_not_wait_for_the_end_of_a_search() {
    let queue = start_rejecting().await;
    capture(&queue, 100, |n| n == 99);
    sleep(CALL * 2).await;
    capture(&queue, 100, |_| false);
    sleep(CALL * 3 / 2).await;
    let ledger = queue.ledger();
    assert!(ledger.dead_lettered == 0 && ledger.delivered >= 101, "{ledger}: the search has just begun");
    sleep(CALL * 20).await;
    assert_eq!(queue.ledger().delivered, 200);
}
