//! How long a shutdown takes while PostHog hangs. See README.md beside it.

mod support;

use std::process::exit;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use posthog_health::testing::{FakePostHog, Reply, Route};
use support::{Arguments, DEFAULT_QUEUE, Row, event, ours, print_machine, print_table, server, theirs};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_millis(5_500);
const OUR_EVENTS: usize = DEFAULT_QUEUE;
const THEIR_EVENTS: usize = 100;
/// How long we wait for the SDK.
const PATIENCE: Duration = Duration::from_secs(45);

fn main() {
    if Arguments::read().is_none() {
        return;
    }
    println!("Shutdown while PostHog takes requests and never answers. Both clients at once, all defaults;");
    println!("ours with a deadline of {DEADLINE:?}, the SDK given {PATIENCE:?}.\n");
    let their_server = Arc::new(hanging());
    let their_end = start(shut_theirs, Arc::clone(&their_server));
    let our_end = start(shut_ours, Arc::new(hanging()));
    let our_time = our_end.recv().expect("our shutdown ends");
    let their_time = their_end.recv_timeout(PATIENCE);

    let took = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let their_words = their_time.map_or_else(|_| format!("> {} s", PATIENCE.as_secs()), took);
    print_table(&[
        Row::count("events queued", OUR_EVENTS, THEIR_EVENTS),
        Row::words("shutdown took", took(our_time), their_words),
    ]);
    let met = our_time <= LIMIT;
    if !met {
        eprintln!("NOT MET: posthog-health must return within {LIMIT:?}, it took {our_time:?}");
    }
    print_machine(&their_server);
    // The SDK may still be at it.
    exit(i32::from(!met));
}

/// On a thread of its own, so that nothing can hold up the program's end.
fn start(shutdown: fn(&FakePostHog) -> Duration, server: Arc<FakePostHog>) -> mpsc::Receiver<Duration> {
    let (tell, time) = mpsc::channel();
    thread::spawn(move || tell.send(shutdown(&server)));
    time
}

fn shut_ours(server: &FakePostHog) -> Duration {
    Runtime::new().expect("a runtime").block_on(async {
        let client = ours(server).build().expect("a good configuration");
        (0..OUR_EVENTS).for_each(|number| client.capture(event(number)));
        server.wait_for_requests(Route::Batch, 1).await;
        let started = Instant::now();
        client.shutdown(DEADLINE).await;
        started.elapsed()
    })
}

fn shut_theirs(server: &FakePostHog) -> Duration {
    Runtime::new().expect("a runtime").block_on(async {
        let client = theirs(server, DEFAULT_QUEUE).await;
        (0..THEIR_EVENTS).for_each(|number| client.capture(event(number)));
        server.wait_for_requests(Route::Batch, 1).await;
        let started = Instant::now();
        client.shutdown().await;
        started.elapsed()
    })
}

fn hanging() -> FakePostHog {
    let server = server();
    server.always(Reply::hang());
    server
}
