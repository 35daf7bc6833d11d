//! Events that PostHog, or something on the way, does not let pass, among others that it does: in simulated time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::world::{Answer, MS, OK, Req, SECOND, World, content, provoked, simulate};
use crate::config::Settings;

/// What it took.
#[derive(Debug)]
struct Took {
    all_good: Duration,
    all_bad: Duration,
    extra_requests_per_bad: f64,
}

/// Where events wait.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "spool"), allow(dead_code, reason = "there is memory only"))]
enum Kept {
    InMemory,
    WithSpool,
    /// With a spool, and the process restarts after 20 s.
    AcrossRestart,
}

/// 1,000 events, and 10 a second afterwards, for eleven minutes. All is over after the time that it took.
fn with_bad_among_1000(bad: &[u32], name: &'static str, kept: Kept) -> Took {
    let (all_good, all_bad, requests) = eleven_minutes(bad, name, kept);
    // Without a bad event, ten batches.
    let extra_requests_per_bad = (f64::from(requests) - 10.0) / bad.len() as f64;
    Took {
        all_good: all_good.expect("good events wait"),
        all_bad: all_bad.expect("bad events wait"),
        extra_requests_per_bad,
    }
}

/// When all good events were delivered and all bad ones dead letters, and the requests that carried one of the 1,000.
fn eleven_minutes(bad: &[u32], name: &'static str, kept: Kept) -> (Option<Duration>, Option<Duration>, u32) {
    let bad: BTreeSet<_> = bad.iter().copied().collect();
    let (mut all_good, mut all_bad, mut requests) = (None, None, 0);
    let directory = tempfile::tempdir().unwrap();
    let directory = (kept != Kept::InMemory).then_some(directory.path());
    simulate(async |clock| {
        let mut world = World::start(Settings::default(), content(name), directory).await;
        (0..1_000).for_each(|n| world.capture(bad.contains(&n)));
        for second in 1..=660 {
            world.run(clock, SECOND, |world, _| world.capture(false)).await;
            assert!(world.pages.is_empty(), "{:?}", world.pages);
            let late = world.report().waiting;
            // Two seconds' worth are on their way at any time.
            if late <= 20 {
                all_good.get_or_insert(SECOND * second);
            } else {
                assert!(all_good.is_none(), "{late} good events wait again after {second} s");
            }
            if world.queue.ledger().dead_lettered == bad.len() as u64 {
                all_bad.get_or_insert(SECOND * second);
            }
            if let (Kept::AcrossRestart, 20, Some(directory)) = (kept, second, directory) {
                world.restart(directory).await;
            }
        }
        let ledger = world.queue.ledger();
        assert!(ledger.dead_lettered <= bad.len() as u64 && ledger.dropped.total() == 0, "{ledger}");
        requests = world.requests_with_first();
        world.shut_down().await;
    });
    (all_good, all_bad, requests)
}

const KINDS: [&str; 6] = ["400", "403 with a page", "413", "500", "502 with a page", "reset"];

/// With one and with five bad events.
fn assert_bad_events_cost_little(name: &'static str, kept: Kept) {
    for bad in [&[437][..], &[0, 437, 438, 702, 999]] {
        let took = with_bad_among_1000(bad, name, kept);
        println!("{} bad, {name}, {kept:?}: {took:?}", bad.len());
        assert!(took.all_good <= SECOND * 30, "{name}: {took:?}");
        assert!(took.all_bad <= SECOND * 600, "{name}: {took:?}");
        assert!(took.extra_requests_per_bad <= 30.0, "{name}: {took:?}");
    }
}

/// Guarantee 4, whatever a bad event provokes.
#[test]
fn a_bad_event_costs_one_event_and_holds_up_no_other() {
    KINDS.iter().for_each(|name| assert_bad_events_cost_little(name, Kept::InMemory));
}

#[test]
#[cfg(feature = "spool")]
fn a_bad_event_costs_one_event_also_with_a_spool_and_across_a_restart() {
    for name in ["403 with a page", "500"] {
        assert_bad_events_cost_little(name, Kept::WithSpool);
        assert_bad_events_cost_little(name, Kept::AcrossRestart);
    }
}

#[test]
#[cfg(feature = "spool")]
#[ignore = "the disk takes real time"]
fn a_bad_event_of_any_kind_costs_one_event_also_with_a_spool_and_across_a_restart() {
    for name in KINDS {
        assert_bad_events_cost_little(name, Kept::WithSpool);
        assert_bad_events_cost_little(name, Kept::AcrossRestart);
    }
}

/// Good events, 10 a second, while requests fare so. Returns the dead letters.
fn dead_letters_of(minutes: u32, answer: impl Fn(u32) -> Answer + Send + Sync + 'static) -> u64 {
    let time = SECOND * 60 * minutes;
    simulate(async |clock| {
        let fares = Arc::new(move |req: &Req| (MS * 20, if req.at < time { answer(req.n) } else { OK }));
        let mut world = World::start(Settings::default(), fares, None).await;
        (0..500).for_each(|_| world.capture(false));
        world.run(clock, time + SECOND * 180, |world, _| world.capture(false)).await;
        let ledger = world.queue.ledger();
        assert!(ledger.queued <= 20, "it has recovered: {ledger}");
        ledger.dead_lettered
    })
}

/// Guarantee 4: nobody is blamed while nothing is accepted.
#[test]
fn rejections_without_an_acceptance_burn_no_event() {
    let fault = |is_400| provoked(if is_400 { "400" } else { "500" }).1;
    assert_eq!(dead_letters_of(4, move |n| fault(n % 2 == 0)), 0, "in turns");
    for seed in 0..5 {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        assert_eq!(
            dead_letters_of(4, move |_| fault(rng.lock().unwrap().bool())),
            0,
            "at random, seed {seed}"
        );
    }
    // After good traffic: the first 60 requests are accepted.
    let after_good = move |n| if n < 60 { OK } else { fault(n % 2 == 0) };
    assert_eq!(dead_letters_of(5, after_good), 0, "after a good minute");
}

/// Each part that is parked has bad events, so only a single one tells that PostHog accepts again.
#[test]
fn a_backlog_with_many_bad_events_leaves_soon_after_posthog_has_refused_everything() {
    let time = SECOND * 100;
    simulate(async |clock| {
        let fares =
            move |req: &Req| if req.at < time || req.is_bad { provoked("400") } else { (MS * 20, OK) };
        let mut world = World::start(Settings::default(), Arc::new(fares), None).await;
        (0..400).for_each(|n| world.capture(n % 10 == 0));
        world.run(clock, time + SECOND * 60 * 6, |_, _| ()).await;
        let ledger = world.queue.ledger();
        assert_eq!((ledger.delivered, ledger.dead_lettered), (360, 40), "{ledger}");
    });
}

/// One of two back ends is down, for an hour.
#[test]
fn a_partial_outage_burns_no_event() {
    for name in ["500", "reset"] {
        for percent in [10, 30, 50, 70] {
            let rng = Mutex::new(fastrand::Rng::with_seed(percent));
            let answer =
                move |_| if rng.lock().unwrap().u64(..100) < percent { provoked(name).1 } else { OK };
            assert_eq!(dead_letters_of(60, answer), 0, "{percent} % {name}");
        }
    }
}
