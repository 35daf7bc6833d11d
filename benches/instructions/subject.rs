//! What capturing costs the caller.

use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, client};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{Event, PostHog};
use tokio::runtime::Runtime;

use crate::support::{DEFAULT_QUEUE, event, ours, server, theirs};
use crate::{CALLS, measured};

/// A client with its runtime.
pub(crate) trait Subject {
    fn start(server: &FakePostHog, queue_events: usize) -> Self;
    fn disabled() -> Self;
    fn capture(&self, event: Event);
    fn flush(&self);
}

pub(crate) struct Ours(Runtime, PostHog);

impl Subject for Ours {
    fn start(server: &FakePostHog, queue_events: usize) -> Self {
        let runtime = runtime();
        let inside = runtime.enter();
        let client = ours(server).queue_events(queue_events).build().expect("a good configuration");
        drop(inside);
        Self(runtime, client)
    }

    fn disabled() -> Self {
        let client = PostHog::builder(FakePostHog::TOKEN).disabled(true).build();
        Self(runtime(), client.expect("a good configuration"))
    }

    fn capture(&self, event: Event) {
        self.1.capture(event);
    }

    fn flush(&self) {
        self.0.block_on(self.1.flush()).expect("a healthy server");
    }
}

pub(crate) struct Theirs(Runtime, Client);

impl Subject for Theirs {
    fn start(server: &FakePostHog, queue_events: usize) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(theirs(server, queue_events));
        Self(runtime, client)
    }

    fn disabled() -> Self {
        let runtime = runtime();
        let mut options = ClientOptionsBuilder::default();
        options.api_key(FakePostHog::TOKEN.to_owned()).disabled(true);
        let client = runtime.block_on(client(options.build().expect("complete options")));
        Self(runtime, client)
    }

    fn capture(&self, event: Event) {
        self.1.capture(event);
    }

    fn flush(&self) {
        self.0.block_on(self.1.flush());
    }
}

/// The event is there, the worker is awake.
pub(crate) fn tight<S: Subject>() {
    let server = server();
    let subject = warm::<S>(&server);
    measured(&mut events().into_iter(), |event| subject.capture(event));
}

/// Each call meets a worker that has nothing to do.
pub(crate) fn asleep<S: Subject>() {
    let server = server();
    let subject = warm::<S>(&server);
    for event in events() {
        sleep(Duration::from_millis(2));
        measured(&mut vec![event].into_iter(), |event| subject.capture(event));
    }
}

/// PostHog hangs, and the queue has overflowed.
pub(crate) fn full<S: Subject>() {
    let server = server();
    server.always(Reply::hang());
    let subject = S::start(&server, CALLS);
    for event in events().into_iter().chain(events()) {
        subject.capture(event);
    }
    measured(&mut events().into_iter(), |event| subject.capture(event));
    // Dropping the SDK's client waits for the server.
    std::mem::forget(subject);
}

pub(crate) fn disabled<S: Subject>() {
    let subject = S::disabled();
    measured(&mut events().into_iter(), |event| subject.capture(event));
}

/// An event of ten properties, from nothing.
pub(crate) fn build<S: Subject>() {
    let server = server();
    let subject = warm::<S>(&server);
    let numbers: Vec<_> = (0..CALLS).collect();
    measured(&mut numbers.into_iter(), |number| subject.capture(event(black_box(number))));
}

/// Threads run, a connection is open, the queue has grown.
fn warm<S: Subject>(server: &FakePostHog) -> S {
    let subject = S::start(server, DEFAULT_QUEUE);
    for event in events() {
        subject.capture(event);
    }
    subject.flush();
    subject
}

pub(crate) fn events() -> Vec<Event> {
    (0..CALLS).map(event).collect()
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}
