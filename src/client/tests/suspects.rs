//! Batches that failed and what PostHog does next, as the simulation found them: in simulated time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::trials::run;
use super::world::{MS, OK, Req, SECOND, content, provoked};
use crate::config::Settings;
use crate::{Error, ErrorKind};

/// One batch holds a bad event and a good one, while others are accepted. From the first request on that `begins`, PostHog
/// refuses everything for so many seconds.
fn refused_after_failures(
    failure: &'static str,
    refusal: &'static str,
    seconds: u32,
    begins: fn(&Req) -> bool,
) {
    let since = Mutex::new(None);
    let fares = move |req: &Req| {
        let mut since = since.lock().unwrap();
        if begins(req) {
            since.get_or_insert(req.at);
        }
        match *since {
            Some(since) if req.at < since + SECOND * seconds => provoked(refusal),
            _ if req.is_bad => provoked(failure),
            _ => (MS * 20, OK),
        }
    };
    let report = run(Settings::default(), Arc::new(fares), 200, |world, n| match n {
        80 => [true, false].into_iter().for_each(|is_bad| world.capture(is_bad)),
        50..110 => {}
        _ => world.capture(false),
    });
    assert!(report.dead_good == 0 && report.waiting <= 20, "{failure}, {refusal} {report:?}");
}

/// What was accepted before the refusals does not say that others are accepted during them.
#[test]
fn a_batch_that_failed_is_not_to_blame_for_a_refusal_of_everything() {
    let is_second_retry = |req: &Req| req.is_bad && req.at > SECOND * 11;
    refused_after_failures("500", "413", 30, is_second_retry);
    refused_after_failures("500", "400", 30, is_second_retry);
}

/// The same for the halves of a batch that failed often enough.
#[test]
fn a_half_of_a_batch_that_failed_is_not_to_blame_for_a_refusal_of_everything() {
    let is_good_half = |req: &Req| req.ids == [51];
    refused_after_failures("hang", "400", 10, is_good_half);
    refused_after_failures("500", "413", 10, is_good_half);
}

/// A good event and a bad one in one batch, and nothing else that could be accepted.
#[test]
fn a_good_event_leaves_the_bad_one_though_no_other_is_captured() {
    for name in ["500", "502 with a page", "reset"] {
        let report = run(Settings::default(), content(name), 100, |world, n| {
            if n == 0 {
                [true, false].into_iter().for_each(|is_bad| world.capture(is_bad));
            }
        });
        assert!(report.waiting == 0 && report.worst <= SECOND * 60, "{name} {report:?}");
    }
}

/// A bad event that failed while others were accepted, and nothing else, in an outage without a connection.
#[test]
fn a_suspect_that_is_left_alone_tries_an_outage_every_ten_seconds() {
    let tried = Arc::new(AtomicU32::new(0));
    let fares = {
        let tried = Arc::clone(&tried);
        move |req: &Req| match req.is_bad {
            _ if req.at > SECOND * 20 => {
                tried.fetch_add(1, Ordering::Relaxed);
                (MS * 20, Err(Error::new(ErrorKind::Connect)))
            }
            true => provoked("500"),
            false => (MS * 20, OK),
        }
    };
    let report = run(Settings::default(), Arc::new(fares), 320, |world, n| {
        if n < 100 {
            world.capture(n == 20);
        }
    });
    let tried = tried.load(Ordering::Relaxed);
    assert!((20..50).contains(&tried) && report.waiting == 0, "{tried} {report:?}");
}
