//! What capturing costs the caller.

use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use posthog_health::Event;
use posthog_health::testing::{FakePostHog, Reply};

use crate::support::checkout::typed_event;
use crate::support::subject::{Ours, Subject};
use crate::support::{DEFAULT_QUEUE, event, server};
use crate::{CALLS, measured};

/// Until threads that have work have begun it, and those that have none sleep.
const SETTLING: Duration = Duration::from_secs(1);

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
    sleep(SETTLING);
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

/// The same from a struct, its text made for it too.
pub(crate) fn build_typed() {
    let server = server();
    let subject = warm::<Ours>(&server);
    let numbers: Vec<_> = (0..CALLS).collect();
    measured(&mut numbers.into_iter(), |number| subject.client.capture(typed_event(black_box(number))));
}

/// Threads run, a connection is open, the queue has grown.
fn warm<S: Subject>(server: &FakePostHog) -> S {
    let subject = S::start(server, DEFAULT_QUEUE);
    for event in events() {
        subject.capture(event);
    }
    subject.flush();
    sleep(SETTLING);
    subject
}

pub(crate) fn events() -> Vec<Event> {
    (0..CALLS).map(event).collect()
}
