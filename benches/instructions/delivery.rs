//! What an event costs the client after the call, from the queue to PostHog's answer. The client has this thread to
//! itself; the server has its own, which is not counted. One request at a time, so that no connection is opened meanwhile.

use posthog_health::AnyEvent;
use tokio::runtime::Builder;

use crate::support::checkout::typed_event;
use crate::support::{event, ours, server};
use crate::{CALLS, measured};

pub(crate) fn plain() {
    deliver(false, event);
}

pub(crate) fn gzip() {
    deliver(true, event);
}

pub(crate) fn plain_typed() {
    deliver(false, typed_event);
}

pub(crate) fn gzip_typed() {
    deliver(true, typed_event);
}

fn deliver<E: Into<AnyEvent>>(gzip: bool, event: fn(usize) -> E) {
    let server = server();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let client = ours(&server).gzip(gzip).in_flight(1).build().expect("a good configuration");
    let flush = || runtime.block_on(client.flush()).expect("a healthy server");
    let capture = || (0..CALLS).for_each(|number| client.capture(event(number)));
    capture();
    flush();
    capture();
    measured(&mut vec![()].into_iter(), |()| flush());
}
