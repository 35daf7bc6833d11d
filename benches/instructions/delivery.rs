//! What an event costs the client after the call, from the queue to PostHog's answer. The client has this thread to
//! itself; the server has its own, which is not counted. One request at a time, so that no connection is opened meanwhile.

use tokio::runtime::Builder;

use crate::capture::events;
use crate::measured;
use crate::support::{ours, server};

pub(crate) fn plain() {
    deliver(false);
}

pub(crate) fn gzip() {
    deliver(true);
}

fn deliver(gzip: bool) {
    let server = server();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let client = ours(&server).gzip(gzip).in_flight(1).build().expect("a good configuration");
    let flush = || runtime.block_on(client.flush()).expect("a healthy server");
    let capture = || events().into_iter().for_each(|event| client.capture(event));
    capture();
    flush();
    capture();
    measured(&mut vec![()].into_iter(), |()| flush());
}
