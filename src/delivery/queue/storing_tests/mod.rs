//! The queue with a spool beside it: any order of steps ([`model`]), and orders that once went wrong.

mod model;

use std::time::Duration;

use super::*;
use crate::delivery::ledger::Account;
use model::{Run, Step, Write, on_disk};

/// What a burst of captures pushes out of memory while the disk is being read is flushed too.
#[test]
fn what_is_released_during_a_load_is_waited_for() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Trouble(true));
    let capture = |run: &mut Run| {
        run.step(Step::Capture { events: 5, durable: false });
    };
    capture(&mut run); // 1000..1005
    run.step(Step::Take { from_disk: false });
    run.turn(Write::Works, None); // on disk, and under way
    capture(&mut run); // 1005..1010
    run.turn(Write::Works, None);
    drop(run.queue.state().release_live()); // 1005..1010 on disk only
    let batch = run.in_flight.pop().unwrap();
    run.queue.give_back(&batch); // 1000..1005 in memory and on disk
    run.step(Step::Trouble(false));
    let flushed = run.queue.step(State::make_due);

    let turn = run.queue.state().next_work(std::time::Instant::now()).unwrap();
    assert!(turn.load.is_some());
    run.disk.held.retain(|number| !turn.released.contains(number));
    let applied = turn.changes.as_ref().map(|changes| run.disk.apply(changes, usize::MAX));
    let loaded = run.disk.load(20);
    // While the disk reads, a burst of captures makes room.
    drop(run.queue.state().release_live());
    run.queue.finish_work(turn, applied, loaded, run.disk.fill());
    run.step(Step::Take { from_disk: true });
    run.step(Step::Deliver);
    let ledger = run.queue.ledger();
    assert_eq!((ledger.delivered, ledger.spooled), (5, 5));
    let settled = *run.queue.settled_to.borrow();
    assert!(settled < flushed, "flush({flushed}) resolves at {settled}, five of its events lie on disk");
}

/// flush looks past the events of another process for its own behind them.
#[test]
fn own_events_behind_those_of_others_in_the_backlog_are_waited_for() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5]);
    run.write_and_read_back(3);
    run.check().unwrap();
    let seqs = run.queue.state().memory().backlog_seqs();
    assert_eq!(seqs, [5, 1000, 1001, 1002]);
    let flushed = run.queue.step(State::make_due);
    let settled = *run.queue.settled_to.borrow();
    assert!(settled < flushed, "flush({flushed}) resolves at {settled}, nothing was sent");
}

/// What was read back from a file that was then lost is in memory only.
#[test]
fn closing_with_a_backlog_after_the_file_was_remade() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5, 6, 7]);
    run.turn(Write::Works, None);
    assert_eq!(run.queue.state().memory().backlog_seqs().len(), 3);
    run.queue.step(|state| state.spool_recovered(|_| false, |_| false));
    run.check().unwrap();
    run.queue.close();
    run.check().unwrap();
}

/// What the disk lost and memory still has is delivered, and counted once.
#[test]
fn a_disk_that_lost_what_memory_holds() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Trouble(true));
    run.step(Step::Capture { events: 5, durable: false });
    run.turn(Write::Works, None);
    // Reopened at an older commit.
    run.disk.events.clear();
    run.queue.step(|state| state.spool_recovered(|_| false, |_| false));
    run.step(Step::Capture { events: 1, durable: false });
    run.turn(Write::Works, None);
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    let ledger = run.queue.ledger();
    assert_eq!((ledger.delivered, ledger.spooled, ledger.dropped.total()), (6, 0, 0), "{ledger:?}");
}

/// A discarded letter lies on disk until the next write: a note in between counts it there alone.
#[test]
fn a_note_after_a_discard_counts_no_letter_twice() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Capture { events: 1, durable: false });
    run.step(Step::Take { from_disk: false });
    run.step(Step::DeadLetter);
    run.journal_is_due();
    run.turn(Write::Works, None);
    assert_eq!(run.disk.dead.len(), 1);
    run.step(Step::Discard);
    run.queue.state().spool.make_note_due();
    run.turn(Write::Works, None);
    run.check().unwrap();
}

/// The same for events that are thrown away over quota.
#[test]
fn a_note_after_over_quota_counts_no_event_twice() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.step(Step::Capture { events: 5, durable: false });
    run.turn(Write::Works, None);
    run.step(Step::Take { from_disk: false });
    let batch = run.in_flight.pop().unwrap();
    run.queue.settle(&batch, Account::Dropped(DropReason::OverQuota));
    run.queue.state().spool.make_note_due();
    run.turn(Write::Works, None);
    run.check().unwrap();
}

/// And for events that were delivered: on disk until the next write, they are not delivered yet as far as a crash can
/// tell.
#[test]
fn a_note_after_a_delivery_counts_no_event_twice() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.step(Step::Capture { events: 5, durable: false });
    run.turn(Write::Works, None);
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    run.queue.state().spool.make_note_due();
    run.turn(Write::Works, None);
    assert_eq!((run.disk.events.len(), run.disk.totals.delivered), (5, 0));
    run.check().unwrap();
}

/// "Dropping the future leaves the event captured as by capture."
#[test]
fn a_durable_capture_that_nobody_awaits_any_more_is_an_ordinary_one() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Capture { events: 1, durable: true });
    run.told.clear();
    run.queue.spool_failed(SpoolIssue::Io);
    let ledger = run.queue.ledger();
    assert_eq!((ledger.queued, ledger.dropped.total()), (1, 0), "{ledger:?}");
}

/// A record that cannot be read, in an idle service.
#[test]
fn a_load_that_gives_nothing_is_not_repeated_at_once() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.queue.state().found_on_disk(1);
    run.disk.events.insert(5, on_disk(5));
    run.disk.held.insert(5); // the store skips it
    run.turn(Write::Works, None);
    let mut turns = 0;
    while run.queue.next_work(Duration::ZERO).is_some_and(|turn| {
        run.queue.finish_work(turn, None, Read::default(), run.disk.fill());
        true
    }) {
        turns += 1;
        assert!(turns < 1_000, "the thread spins");
    }
}

/// A record that turns out to be unreadable: whoever counts on it is told that it is lost.
#[test]
fn what_the_disk_turns_out_not_to_have_is_counted_as_lost() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.queue.state().found_on_disk(3);
    run.disk.events.extend([4, 5].map(|number| (number, on_disk(number))));
    run.step(Step::Capture { events: 1, durable: false });
    run.turn(Write::Works, None);
    let ledger = run.queue.ledger();
    assert_eq!((ledger.captured, ledger.spooled, ledger.dropped.count(DropReason::Crash)), (4, 3, 1));
}

/// Once its own events are back in memory, flush does not mind what else lies on disk.
#[test]
fn flush_does_not_wait_for_what_was_taken_over_later() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.write_and_read_back(3);
    run.step(Step::Trouble(false));
    run.step(Step::Take { from_disk: true });
    run.step(Step::Deliver);
    // A large file of another process is taken over.
    run.inherit(1..=500);
    run.journal_is_due();
    run.turn(Write::Works, None);
    run.step(Step::Capture { events: 1, durable: false });
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    run.check().unwrap();
    let flushed = run.queue.step(State::make_due);
    let settled = *run.queue.settled_to.borrow();
    assert!(settled >= flushed, "flush({flushed}) waits at {settled} for the events of another process");
}

/// A backlog that is no longer on disk is written again when delivery stands still.
#[test]
fn the_backlog_of_a_remade_file_goes_to_disk_again() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5, 6, 7]);
    run.turn(Write::Works, None);
    run.queue.step(|state| state.spool_recovered(|_| false, |_| false));
    run.step(Step::Trouble(true));
    for _ in 0..3 {
        run.journal_is_due();
        run.turn(Write::Works, None);
    }
    let ledger = run.queue.ledger();
    assert_eq!((ledger.queued, ledger.spooled, run.disk.events.len()), (0, 3, 3), "{ledger:?}");
}

/// A batch is of one process, so that flush knows whom it waits for; and the two roads take turns.
#[test]
fn a_batch_from_disk_is_of_one_process() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5]);
    run.write_and_read_back(3);
    let sizes = [true, true, true].map(|from_disk| {
        run.queue
            .step(|state| state.take((state.limits.batch_events, 1 << 16), from_disk))
            .map(|batch| batch.len())
    });
    assert_eq!(sizes, [Some(1), Some(3), None]);
}

#[test]
fn nothing_is_read_back_into_a_full_memory_or_for_a_closed_queue() {
    let loads = |run: &Run| {
        let turn = run.queue.state().next_work(std::time::Instant::now());
        turn.is_some_and(|turn| turn.load.is_some())
    };
    let with_backlog = || {
        let run = Run::new(Overflow::DropNewest, false);
        run.queue.state().found_on_disk(1);
        run
    };
    assert!(loads(&with_backlog()));
    let mut over_half = with_backlog();
    over_half.step(Step::Capture { events: 26, durable: false });
    assert!(!loads(&over_half));
    let closed = with_backlog();
    closed.queue.close();
    assert!(!loads(&closed));
    // Closed while the disk was read.
    let read = Read { events: vec![on_disk(5)], is_all: true };
    closed.queue.state().read(read);
    assert!(closed.queue.look(State::is_done));
}

/// Thousands of events share a write, and none of them costs its caller a system call.
#[test]
fn with_write_ahead_events_gather_and_only_the_first_wakes_the_disk() {
    let run = Run::new(Overflow::DropNewest, true);
    let start = std::time::Instant::now();
    let mut state = run.queue.state();
    let enter = |state: &mut State, waiter| {
        state.enter(Bytes::from_static(b"{}"), waiter);
        state.take_wakes().spool
    };
    state.sleep(start);
    assert_eq!([(); 3].map(|()| enter(&mut state, None)), [true, false, false]);
    let writes = |state: &mut State, at| {
        let work = state.next_work(at);
        work.and_then(|work| work.changes).map_or(0, |changes| changes.put.len())
    };
    assert_eq!(writes(&mut state, start), 0);
    assert!(state.sleep(start) <= Duration::from_millis(6));
    assert_eq!(writes(&mut state, std::time::Instant::now() + Duration::from_millis(5)), 3);
}

#[test]
fn an_event_that_somebody_waits_for_is_written_at_once_with_all_that_gathered() {
    let run = Run::new(Overflow::DropNewest, true);
    let mut state = run.queue.state();
    let enter = |state: &mut State, waiter| {
        state.enter(Bytes::from_static(b"{}"), waiter);
        state.take_wakes().spool
    };
    enter(&mut state, None);
    state.sleep(std::time::Instant::now());
    let (waiter, _told) = tokio::sync::oneshot::channel();
    assert!(enter(&mut state, Some(waiter)));
    let work = state.next_work(std::time::Instant::now()).unwrap();
    assert_eq!(work.changes.unwrap().put.len(), 2);
}

/// In an outage, events go to disk a batch at a time, or an eighth of memory where that is less; fewer are found when the
/// thread looks by itself.
#[test]
fn in_an_outage_the_disk_is_woken_for_a_batch_and_not_for_each_event() {
    let run = Run::new(Overflow::DropNewest, false);
    run.queue.step(|state| state.set_in_trouble(true));
    let mut state = run.queue.state();
    // Its first look notes the ledger that the first event has changed.
    let enter = |state: &mut State| {
        state.enter(Bytes::from_static(b"{}"), None);
        state.take_wakes().spool
    };
    enter(&mut state);
    state.sleep(std::time::Instant::now());
    let wakes: Vec<_> = (2..=25).filter(|_| enter(&mut state)).collect();
    assert_eq!(wakes, [6]);
}

/// A disk that knows the counts, and is told within a second that its event was delivered.
fn noted_and_not_told() -> Run {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Trouble(true));
    run.step(Step::Capture { events: 1, durable: false });
    run.turn(Write::Works, None);
    run.step(Step::Trouble(false));
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    run.queue.state().spool.make_note_due();
    run.turn(Write::Works, None);
    run
}

/// What was delivered goes to disk within a second. What is lost meanwhile is noted at once all the same: if the process is
/// killed in this second, the next one knows of it.
#[test]
fn a_loss_wakes_a_disk_that_sleeps_until_it_is_told_what_was_delivered() {
    let run = noted_and_not_told();
    let mut state = run.queue.state();
    let now = std::time::Instant::now();
    let lose = |state: &mut State| {
        state.refuse(DropReason::QueueFull, None);
        state.take_wakes().spool
    };
    assert_eq!(state.sleep(now), Duration::from_secs(1), "the counts are noted");
    assert!(lose(&mut state));
    assert!(state.sleep(now) <= Duration::from_millis(20));
    assert!(!lose(&mut state), "it notes the counts in a moment anyway");
}

/// The same for what is captured.
#[test]
fn a_capture_wakes_a_disk_that_sleeps_until_it_is_told_what_was_delivered() {
    let run = noted_and_not_told();
    let mut state = run.queue.state();
    let now = std::time::Instant::now();
    let capture = |state: &mut State| {
        drop(state.enter("{}".into(), None));
        state.take_wakes().spool
    };
    assert_eq!(state.sleep(now), Duration::from_secs(1), "the counts are noted");
    assert!(capture(&mut state));
    assert!(state.sleep(now) <= Duration::from_millis(20));
    assert!(!capture(&mut state), "it notes the counts in a moment anyway");
}

/// A note needs no room.
#[test]
fn a_full_disk_still_notes_the_counts_in_a_moment() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Trouble(true));
    run.step(Step::Capture { events: 1, durable: false });
    run.turn(Write::HasRoomFor(0), None);
    run.step(Step::Capture { events: 1, durable: false });
    let now = std::time::Instant::now();
    assert!(run.queue.state().sleep(now) <= Duration::from_millis(20));
}

/// In an outage too: a write for each event would wear the disk out.
#[test]
fn with_write_ahead_events_gather_in_an_outage_as_well() {
    let run = Run::new(Overflow::DropNewest, true);
    run.queue.step(|state| state.set_in_trouble(true));
    let mut state = run.queue.state();
    let start = std::time::Instant::now();
    state.enter(Bytes::from_static(b"{}"), None);
    state.enter(Bytes::from_static(b"{}"), None);
    let writes = |state: &mut State, at| {
        let work = state.next_work(at);
        work.and_then(|work| work.changes).map_or(0, |changes| changes.put.len())
    };
    assert_eq!(writes(&mut state, start), 0);
    assert_eq!(writes(&mut state, std::time::Instant::now() + Duration::from_millis(6)), 2);
}

/// A file that was put back holds events that are delivered already, and the first write evicts them.
#[test]
fn what_turns_up_and_is_evicted_by_the_same_write_is_counted_once() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.step(Step::Capture { events: 1, durable: false });
    run.step(Step::Trouble(true));
    run.queue.state().spool.end_gathering();
    let work = run.queue.state().next_work(std::time::Instant::now()).unwrap();
    let mut applied = run.disk.apply(work.changes.as_ref().unwrap(), usize::MAX);
    applied.expired = 100;
    run.queue.finish_work(work, Some(applied), Read::default(), run.disk.fill());
    let ledger = run.queue.ledger();
    assert_eq!((ledger.captured, ledger.spooled), (101, 1));
    assert_eq!(ledger.dropped.count(DropReason::SpoolExpired), 100);
}

/// Large events fill memory long before they are a batch by their number.
#[test]
fn in_an_outage_the_disk_is_woken_for_a_batch_of_bytes_too() {
    let run = Run::new(Overflow::DropNewest, false);
    run.queue.step(|state| {
        state.limits.batch_bytes = 3_000;
        state.set_in_trouble(true);
    });
    let mut state = run.queue.state();
    let enter = |state: &mut State| {
        state.enter(Bytes::from(vec![b'x'; 1_000]), None);
        state.take_wakes().spool
    };
    enter(&mut state);
    state.sleep(std::time::Instant::now());
    assert_eq!([(); 2].map(|()| enter(&mut state)), [false, true]);
}

/// A caller that gives up while the disk hangs leaves nothing behind, and its event stays captured.
#[tokio::test]
async fn a_durable_capture_that_is_cancelled_leaves_no_waiter() {
    let run = Run::new(Overflow::DropNewest, false);
    let queue = std::sync::Arc::new(run.queue);
    let encoder = crate::delivery::Encoder::new(crate::delivery::Hooks::default(), true, true, 1 << 20);
    let producer = crate::delivery::Producer::new(std::sync::Arc::clone(&queue), encoder);
    for _ in 0..3 {
        let mut capture = tokio_test::task::spawn(producer.capture_durable(posthog_rs::Event::new("e", "u")));
        assert!(capture.poll().is_pending());
        assert!(queue.look(|state| state.spool.has_waiters()));
        drop(capture);
        assert!(!queue.look(|state| state.spool.has_waiters()));
    }
    assert_eq!(queue.ledger().queued, 3);
}

/// Few events, while delivery stands still: the counts are noted often, but each write costs an `fsync`.
#[test]
fn in_an_outage_few_events_go_to_disk_ten_times_a_second_at_most() {
    let run = Run::new(Overflow::DropNewest, false);
    run.queue.step(|state| state.set_in_trouble(true));
    let start = std::time::Instant::now();
    let mut state = run.queue.state();
    // An eighth of the memory would be a batch.
    let mut writes = |millis| {
        state.enter(Bytes::from_static(b"{}"), None);
        let work = state.next_work(start + Duration::from_millis(millis));
        work.and_then(|work| work.changes).is_some_and(|changes| !changes.put.is_empty())
    };
    assert_eq!([0, 20, 40, 99].map(&mut writes), [true, false, false, false]);
    assert!(writes(100));
}
