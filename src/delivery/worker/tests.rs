//! A worker over a service without layers, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use posthog_rs::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tower::service_fn;

use super::{Encoder, Worker};
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::Queue;
use crate::layers::circuit_breaker::State;
use crate::outcome::Accepted;
use crate::transport::Batch;
use crate::{Error, ErrorKind};

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
            if *fails.borrow() {
                Err(Error::new(ErrorKind::Server))
            } else {
                Ok(Accepted { over_quota: false })
            }
        }
    });
    let credentials = Opened::open("phc_test".into()).unwrap().credentials;
    let breaker = watch::Sender::new(State::Closed);
    let worker =
        Worker::new(Arc::clone(&queue), service, settings.pacing, setback, credentials, breaker.subscribe());
    queue.capture(Event::new("page viewed", "user-1"));
    tokio::spawn(async move {
        worker.run(|| Encoder::new(Vec::new(), true, true)).await;
        drop(breaker);
    });
    queue.flush();
    // The worker starts in real time: it asks a thread for the system's name.
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
    let (first, longest) = (Duration::from_secs(60), Duration::from_secs(3600));
    let (queue, fails, mut calls) = start((first, longest)).await;
    let hours = |n| sleep(longest * n);
    hours(20).await;
    let failed = drain(&mut calls);
    // Half an hour each, in the middle; a minute at most if they did not grow.
    assert!((10..120).contains(&failed.len()), "{}", failed.len());
    let longest_gap = failed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest_gap > 10 * first && longest_gap <= longest + 2 * CALL, "{longest_gap:?}");
    assert_eq!(queue.ledger().queued, 1);

    fails.send(false).unwrap();
    hours(2).await;
    assert_eq!(queue.ledger().delivered, 1);
    drain(&mut calls);
    fails.send(true).unwrap();
    queue.capture(Event::new("page viewed", "user-1"));
    hours(1).await;
    let failed = drain(&mut calls);
    assert!(failed[1] - failed[0] <= first + 2 * CALL, "{:?}: the first pause again", failed[1] - failed[0]);
}
