//! As fast as loops can.

use std::thread;

use posthog_health::Event;
use posthog_health::testing::FakePostHog;

use crate::support::server;
use crate::support::subject::{Subject, Theirs};
use crate::support::times::Times;
use crate::{Comparison, ours_plain, timed};

const CHUNK: usize = 10_000;
const CHUNKS: usize = 20;

pub(crate) fn run(prototype: &Event, their_server: &FakePostHog) {
    let total = CHUNK * CHUNKS;
    println!("In a tight loop, {total} calls in turns of {CHUNK}, drained in between; PostHog healthy.\n");
    let our_server = server();
    let ours = ours_plain(&our_server, 2 * CHUNK);
    let theirs = Theirs::start(their_server, 2 * CHUNK);
    let mut table = Comparison::new("threads");
    for threads in [1, 2, 4] {
        let (mut our_times, mut their_times) = (Times::default(), Times::default());
        for _ in 0..CHUNKS {
            fill(&mut our_times, threads, prototype, &ours);
            fill(&mut their_times, threads, prototype, &theirs);
        }
        table.add(threads.to_string(), &our_times, &their_times);
    }
    table.print();
    Box::new(ours).end();
    Box::new(theirs).end();
    let arrived = [our_server.accepted(), their_server.accepted()];
    println!("arrived of {}: ours {}, posthog-rs's {}\n", 3 * total, arrived[0], arrived[1]);
}

/// The threads share a chunk.
fn fill(times: &mut Times, threads: usize, prototype: &Event, subject: &impl Subject) {
    let part = || {
        let mut times = Times::default();
        (0..CHUNK / threads).for_each(|_| timed(&mut times, prototype, subject));
        times
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
        parts.into_iter().for_each(|part| times.append(part.join().expect("an end")));
    });
    subject.flush();
}
