//! How long a shutdown takes while PostHog hangs. See README.md beside it.

mod support;

use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use posthog_health::testing::{FakePostHog, Reply};
use support::{
    Arguments, DEFAULT_QUEUE, cells, event, ours, print_columns, print_machine, seconds, server, theirs,
};
use tokio::runtime::Runtime;
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_millis(5_500);
/// The last fills the queue of either.
const QUEUED: [usize; 4] = [90, 200, 1_000, DEFAULT_QUEUE];
/// Then the first requests hang.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// How long we wait for the SDK.
const PATIENCE: Duration = Duration::from_secs(110);

fn main() {
    if Arguments::read().is_none() {
        return;
    }
    println!(
        "Shutdown while PostHog takes requests and never answers. All at once, all defaults; ours with a"
    );
    println!("deadline of {DEADLINE:?}, the SDK given {PATIENCE:?}.\n");
    let their_server = hanging();
    let runs = QUEUED.map(|queued| {
        (queued, start(shut_ours, hanging(), queued), start(shut_theirs, Arc::clone(&their_server), queued))
    });
    let given_up = Instant::now() + PATIENCE;
    let mut table = vec![cells!["events queued", "posthog-health", "posthog-rs", "ours / theirs"]];
    let mut met = true;
    for (queued, our_end, their_end) in runs {
        let our_time = our_end.recv().expect("our shutdown ends");
        let their_time = their_end.recv_timeout(given_up.saturating_duration_since(Instant::now()));
        let longest = their_time.unwrap_or(PATIENCE);
        let (more, less) = if their_time.is_err() { ("> ", "< ") } else { ("", "") };
        table.push(cells![
            queued,
            seconds(Some(our_time)),
            format!("{more}{}", seconds(Some(longest))),
            format!("{less}{:.2}", our_time.as_secs_f64() / longest.as_secs_f64())
        ]);
        if our_time > LIMIT {
            eprintln!(
                "NOT MET: with {queued} queued, ours must return within {LIMIT:?}, it took {our_time:?}"
            );
            met = false;
        }
    }
    print_columns(&table);
    print_machine(&their_server);
    // The SDK may still be at it.
    exit(i32::from(!met));
}

fn hanging() -> Arc<FakePostHog> {
    let server = server();
    server.always(Reply::hang());
    Arc::new(server)
}

/// On a thread of its own, so that nothing can hold up the program's end.
fn start(
    shutdown: fn(&FakePostHog, usize) -> Duration,
    server: Arc<FakePostHog>,
    queued: usize,
) -> Receiver<Duration> {
    let (tell, time) = channel();
    thread::spawn(move || tell.send(shutdown(&server, queued)));
    time
}

fn shut_ours(server: &FakePostHog, queued: usize) -> Duration {
    Runtime::new().expect("a runtime").block_on(async {
        let client = ours(server).build().expect("a good configuration");
        (0..queued).for_each(|number| client.capture(event(number)));
        sleep(UNDER_WAY).await;
        let started = Instant::now();
        client.shutdown(DEADLINE).await;
        started.elapsed()
    })
}

fn shut_theirs(server: &FakePostHog, queued: usize) -> Duration {
    Runtime::new().expect("a runtime").block_on(async {
        let client = theirs(server, DEFAULT_QUEUE).await;
        (0..queued).for_each(|number| client.capture(event(number)));
        sleep(UNDER_WAY).await;
        let started = Instant::now();
        client.shutdown().await;
        started.elapsed()
    })
}
