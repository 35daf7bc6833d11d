//! What an event costs the client after the call, from the queue to PostHog's answer. The client has this thread to
//! itself; the server has its own, which is not counted. One request at a time, so that no connection is opened meanwhile.

use posthog_health::AnyEvent;
use posthog_health::CaptureProtocol::{self, V0, V1};
use tokio::runtime::Builder;

use crate::support::checkout::typed_event;
use crate::support::{event, ours, server};
use crate::{CALLS, measured};

pub(crate) fn plain() {
    deliver(V0, false, event);
}

pub(crate) fn gzip() {
    deliver(V0, true, event);
}

pub(crate) fn plain_v1() {
    deliver(V1, false, event);
}

pub(crate) fn gzip_v1() {
    deliver(V1, true, event);
}

pub(crate) fn plain_typed() {
    deliver(V0, false, typed_event);
}

pub(crate) fn gzip_typed() {
    deliver(V0, true, typed_event);
}

fn deliver<E: Into<AnyEvent>>(protocol: CaptureProtocol, gzip: bool, event: fn(usize) -> E) {
    let server = server();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let builder = ours(&server).capture_protocol(protocol).gzip(gzip).in_flight(1);
    let client = builder.build().expect("a good configuration");
    let flush = || runtime.block_on(client.flush()).expect("a healthy server");
    let capture = || (0..CALLS).for_each(|number| client.capture(event(number)));
    capture();
    flush();
    capture();
    measured(&mut vec![()].into_iter(), |()| flush());
}
