//! Bad events and outages that a reviewer thought of, each of which once cost good events: in simulated time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::world::{Answer, Fares, MS, OK, Report, Req, SECOND, World, content, provoked, simulate};
use crate::config::Settings;
use crate::{Error, ErrorKind};

pub fn run(settings: Settings, fares: Fares, seconds: u32, mut each: impl FnMut(&mut World, u32)) -> Report {
    simulate(async |clock| {
        let mut world = World::start(settings, fares, None).await;
        world.run(clock, SECOND * seconds, |world, n| each(world, n)).await;
        world.report()
    })
}

/// 1,000 events, each tenth bad, nothing else: whatever the batch, it holds a bad one.
#[test]
fn good_events_pass_though_each_batch_holds_a_bad_one() {
    for name in ["403 with a page", "500", "reset"] {
        let report = run(Settings::default(), content(name), 600, |world, n| {
            if n == 0 {
                (0..1_000).for_each(|n| world.capture(n % 10 == 0));
            }
        });
        assert!(report.waiting == 0 && report.worst <= SECOND * 60, "{name} {report:?}");
    }
}

/// 100 events a second, one in a hundred bad.
#[test]
fn a_bad_event_a_second_holds_up_nobody() {
    for name in ["403 with a page", "500", "reset"] {
        let report = run(Settings::default(), content(name), 300, |world, n| {
            (0..10).for_each(|m| world.capture(n % 10 == 5 && m == 5));
        });
        assert!(report.late < 300 && report.worst <= SECOND * 60, "{name} {report:?}");
    }
}

/// PostHog refuses everything for a while, twice, and takes about a second to answer.
#[test]
fn two_outages_of_400s_burn_no_good_event() {
    let fares = |req: &Req| {
        let (_, answer) = if (req.at.as_secs() / 97) % 2 == 1 { provoked("400") } else { (MS, OK) };
        (MS * 450 + MS * ((req.n * 7919) % 900), answer)
    };
    let report = run(Settings::default(), Arc::new(fares), 500, |world, n| {
        if n % 4 == 0 {
            world.capture(false);
        }
    });
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// A whole batch of bad events, while others are accepted.
#[test]
fn a_batch_of_bad_events_becomes_dead_letters() {
    for name in ["400", "403 with a page"] {
        let report = run(Settings::default(), content(name), 900, |world, n| {
            if n == 0 {
                (0..100).for_each(|_| world.capture(true));
            }
            world.capture(false);
        });
        assert!(report.dead == 100 && report.requests < 900 + 3_000, "{name} {report:?}");
    }
}

/// Provoked with `Retry-After: 120`. The first answer pauses all, because it may be meant for all; the second pauses nobody.
#[test]
fn a_retry_after_of_a_bad_event_pauses_no_other() {
    let report =
        run(Settings::default(), content("503, Retry-After: 120"), 600, |world, n| world.capture(n == 300));
    assert!(report.late < 1_000, "{report:?}");
}

/// PostHog refuses everything for a minute, and only a bad event is tried then: it holds up nobody for ever.
#[test]
fn a_bad_event_is_not_the_only_one_that_is_tried_after_many_rejections() {
    let mut settings = Settings::default();
    settings.limits.events = 20;
    let fares = |req: &Req| match req.at.as_secs() {
        ..60 => provoked("400"),
        _ if req.is_bad => provoked("reset"),
        _ => (MS * 20, OK),
    };
    let report = run(settings, Arc::new(fares), 360, |world, n| {
        if n % 20 == 0 && n < 400 {
            world.capture(n == 380);
        }
    });
    assert_eq!((report.bad, report.waiting), (1, 0), "{report:?}");
}

/// PostHog's contract: the first retry of a batch comes 100 ms later at the earliest. Its half is another batch.
#[test]
fn a_batch_that_failed_rests_before_it_is_sent_again() {
    let unreachable = |req: &Req| match req.at.as_millis() % 1_400 {
        ..700 => Err(Error::new(ErrorKind::Connect)),
        _ => OK,
    };
    let fails_on_halves =
        |req: &Req| if req.n.is_multiple_of(2) || req.is_bad { provoked("500").1 } else { OK };
    let over_quota = |req: &Req| {
        let refusal = || Error::new(ErrorKind::QuotaExceeded).with_status(402);
        if req.n.is_multiple_of(2) { Err(refusal()) } else { OK }
    };
    let refused = |req: &Req| {
        let refusal = || Error::new(ErrorKind::Unauthorized).with_status(401);
        if req.n.is_multiple_of(2) { Err(refusal()) } else { OK }
    };
    type World = (&'static str, fn(&Req) -> Answer);
    let worlds: [World; 4] = [
        ("unreachable now and then", unreachable),
        ("half of it", fails_on_halves),
        ("over quota", over_quota),
        ("refused", refused),
    ];
    for (name, answer) in worlds {
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let fares = {
            let sent = Arc::clone(&sent);
            move |req: &Req| {
                let (at, ids, answer) = (req.at, req.ids.clone(), answer(req));
                sent.lock().unwrap().push(Sent { at, ids, has_failed: answer.is_err() });
                (MS * 20, answer)
            }
        };
        let mut settings = Settings::default();
        settings.limits.batch_events = 10;
        run(settings, Arc::new(fares), 120, |world, n| {
            (0..10).for_each(|m| world.capture(n % 50 == 7 && m == 0));
        });
        let sent = sent.lock().unwrap();
        let early = |first: &Sent| {
            let again = sent.iter().find(|again| again.repeats(first));
            again.map(|again| format!("{name}: {:?} at {:?} and {:?}", again.ids, first.at, again.at))
        };
        let early: Vec<_> = sent.iter().filter(|first| first.has_failed).filter_map(early).collect();
        assert!(early.is_empty(), "{early:?}");
    }
}

struct Sent {
    at: Duration,
    ids: Vec<u32>,
    has_failed: bool,
}

impl Sent {
    /// Whether this request carries what `first` did, less than 100 ms after `first` failed.
    fn repeats(&self, first: &Self) -> bool {
        let failed_at = first.at + MS * 20;
        let known = self.ids.iter().filter(|id| first.ids.contains(id)).count();
        let is_half = known == self.ids.len() && known < first.ids.len();
        known > 0 && !is_half && self.at >= failed_at && self.at < failed_at + MS * 100
    }
}

/// After 7 min without PostHog, one event waits: it is delivered soon after the recovery.
#[test]
fn a_recovery_is_noticed_within_half_a_minute() {
    for (name, every) in [("500", 600), ("hang", 100_000), ("400", 600)] {
        let fares = move |req: &Req| if req.at < SECOND * 420 { provoked(name) } else { (MS * 20, OK) };
        let report = run(Settings::default(), Arc::new(fares), 450, |world, n| {
            if n % every == 1 && n < 4_200 {
                world.capture(false);
            }
        });
        assert_eq!(report.waiting, 0, "{name} {report:?}");
    }
}

/// All is refused, one event a request.
#[test]
fn an_outage_of_400s_is_no_storm_of_single_events() {
    let mut settings = Settings::default();
    settings.limits.batch_events = 1;
    let report = run(settings, Arc::new(|_: &Req| provoked("400")), 600, |world, n| {
        if n == 0 {
            (0..2_000).for_each(|_| world.capture(false));
        }
    });
    assert!(report.requests < 3_000, "{report:?}");
}

/// Four bad events in two hours of one event a minute.
#[test]
fn a_quiet_service_is_not_paged_for_suspects() {
    for (name, bad_every) in [("hang", 30), ("hang", 40)] {
        let mut count = 0;
        let report = run(Settings::default(), content(name), 7_200, |world, n| {
            if n % 600 == 0 {
                world.capture(count % bad_every == 1);
                count += 1;
            }
        });
        assert!(report.pages.is_empty() && report.late == 0, "{name} {report:?}");
    }
}

/// Two requests at once: the first is accepted, and everything after it is refused.
#[test]
fn a_switch_to_400_with_two_requests_in_flight_burns_no_good_event() {
    let mut settings = Settings::default();
    settings.limits.batch_events = 1;
    let fares = |req: &Req| (MS * (20 + req.n), if req.n == 1 { OK } else { provoked("400").1 });
    let report = run(settings, Arc::new(fares), 60, |world, n| {
        if n == 0 {
            (0..2).for_each(|_| world.capture(false));
        }
    });
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// 400 and 503 in turns for a quarter of an hour.
#[test]
fn rejections_among_failures_are_never_hopeless() {
    let fares = |req: &Req| provoked(if req.n.is_multiple_of(2) { "400" } else { "500" });
    let report = run(Settings::default(), Arc::new(fares), 1_200, |world, _| world.capture(false));
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// A shutdown while a batch with a bad event waits, and nothing else: the good ones beside it.
#[test]
fn a_shutdown_delivers_what_a_bad_event_held_up() {
    for name in ["500", "reset"] {
        let report = run(Settings::default(), content(name), 22, |world, n| match n {
            0 => (0..100).for_each(|n| world.capture(n == 50)),
            20 => drop(world.queue.close()),
            _ => {}
        });
        assert!(report.waiting <= 10, "{name} {report:?}");
    }
}

/// A service that starts with bad events only: the search makes many attempts, and each of them says no more than the first.
/// Without an acceptance, nobody can tell it from an outage, so it is one after a minute.
#[test]
fn a_search_pages_nobody_within_a_minute() {
    for name in ["403 with a page", "500", "reset"] {
        simulate(async |clock| {
            let mut world = World::start(Settings::default(), content(name), None).await;
            (0..6).for_each(|_| world.capture(true));
            world.run(clock, SECOND * 50, |_, _| {}).await;
            let is_early = !world.pages.is_empty();
            world.run(clock, SECOND * 20, |_, _| {}).await;
            assert!(!is_early && !world.pages.is_empty(), "{name} {is_early} {:?}", world.pages);
        });
    }
}

/// Where a bad event comes now and then, nobody is paged, and nothing waits.
#[test]
fn a_bad_event_each_ten_seconds_pages_nobody() {
    for name in ["400", "403 with a page", "413", "500", "reset"] {
        let report = run(Settings::default(), content(name), 1_200, |world, n| world.capture(n % 100 == 50));
        assert!(report.late == 0 && report.pages.is_empty() && report.dead_good == 0, "{name} {report:?}");
        assert!(report.requests < 1_200 + 30 * report.bad, "{name} {report:?}");
    }
}

/// The breaker opens on one batch while a slow attempt is on its way that is accepted.
#[test]
fn suspects_are_not_left_alone_behind_an_open_breaker() {
    let report = simulate(async |clock| {
        let fares = move |req: &Req| match (req.ids.len(), req.at < SECOND * 20) {
            (1, _) => (SECOND * 3, OK),
            (_, true) => (MS * 20, provoked("500").1),
            (_, false) => (MS * 20, OK),
        };
        let mut world = World::start(Settings::default(), Arc::new(fares), None).await;
        (0..50).for_each(|_| world.capture(false));
        world.run(clock, MS * 13_500, |_, _| {}).await;
        world.capture(false);
        world.queue.flush();
        world.run(clock, SECOND * 3600, |_, _| {}).await;
        world.queue.flush();
        world.queue.close();
        world.run(clock, SECOND * 600, |_, _| {}).await;
        world.report()
    });
    assert_eq!(report.waiting, 0, "{report:?}");
}

/// A wrong schema for two minutes, 100 events a second.
#[test]
#[cfg(feature = "spool")]
fn refused_events_fill_the_disk_and_not_the_memory() {
    for name in ["400", "403 with a page"] {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        (settings.limits.events, settings.limits.batch_events) = (1_000, 50);
        let all = Arc::new(|req: &Req| if req.at < SECOND * 120 { provoked(name) } else { (MS * 20, OK) });
        simulate(async |clock| {
            let mut world = World::start(settings, all, Some(directory.path())).await;
            world
                .run(clock, SECOND * 120, |world, _| {
                    (0..10).for_each(|_| world.capture(false));
                    let memory = world.queue.look(|state| state.memory().events());
                    assert!(memory <= 3_000, "{name}: {memory} in memory");
                })
                .await;
            // The disk takes real time, and simulated time goes on meanwhile.
            for _ in 0..100 {
                world.run(clock, SECOND * 10, |_, _| ()).await;
                if world.report().waiting == 0 {
                    break;
                }
            }
            let report = world.report();
            assert_eq!((world.queue.ledger().dropped.total(), report.waiting), (0, 0), "{name} {report:?}");
            world.shut_down().await;
        });
    }
}
