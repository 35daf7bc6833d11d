use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use posthog_rs::Event;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::disk::DiskState;
use super::state::Overflow;
use super::*;
use crate::delivery::DeadLetterLimits;
use crate::delivery::spool::{Applied, Changes, Contents, Fill, Stored};
use crate::{Error, ErrorKind};

/// A disk that does what the store promises.
#[derive(Default)]
struct Disk {
    events: BTreeMap<u64, Stored>,
    dead: BTreeSet<u64>,
    held: BTreeSet<u64>,
    /// As written, or as noted since.
    totals: Totals,
}

impl Disk {
    fn apply(&mut self, changes: &Changes, room: usize) -> Applied {
        for number in &changes.settle {
            self.events.remove(number);
            self.held.remove(number);
        }
        changes.discard.iter().for_each(|number| {
            self.dead.remove(number);
        });
        assert!(changes.put.is_sorted_by_key(|event| event.number));
        let written = changes.put.len().min(room);
        for event in &changes.put[..written] {
            self.events.insert(event.number, event.clone());
            self.held.insert(event.number);
            self.dead.remove(&event.number);
        }
        for (number, _) in &changes.bury {
            self.events.remove(number);
            self.held.remove(number);
            self.dead.insert(*number);
        }
        self.totals = changes.totals;
        Applied { written, ..Applied::default() }
    }

    fn load(&mut self, most: usize) -> Read {
        let unheld = self.events.values().filter(|event| !self.held.contains(&event.number));
        let is_all = unheld.clone().count() <= most;
        let events: Vec<Stored> = unheld.take(most).cloned().collect();
        self.held.extend(events.iter().map(|event| event.number));
        Read { events, is_all }
    }

    fn fill(&self) -> Fill {
        Fill { events: self.events.len() as u64, ..Fill::default() }
    }
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Works,
    /// Nothing is written.
    Fails,
    /// All is written, and nobody knows.
    FailsLate,
    HasRoomFor(usize),
}

/// What the worker and the spool's thread do, in any order, with any result.
#[derive(Clone, Debug)]
enum Step {
    Capture {
        events: u8,
        durable: bool,
    },
    Encode,
    Take {
        from_disk: bool,
    },
    Deliver,
    GiveBack,
    Bury,
    Replay,
    Discard,
    Trouble(bool),
    /// Some of what the worker does may happen while the disk writes.
    Turn {
        write: Write,
        meanwhile: Box<Option<Step>>,
    },
    Reopen,
    Close,
}

fn simple_step() -> impl Strategy<Value = Step> + Clone {
    prop_oneof![
        6 => (1u8..20, any::<bool>()).prop_map(|(events, durable)| Step::Capture { events, durable }),
        6 => Just(Step::Encode),
        6 => any::<bool>().prop_map(|from_disk| Step::Take { from_disk }),
        5 => Just(Step::Deliver),
        3 => Just(Step::GiveBack),
        2 => Just(Step::Bury),
        1 => Just(Step::Replay),
        1 => Just(Step::Discard),
        2 => any::<bool>().prop_map(Step::Trouble),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let write = prop_oneof![
        5 => Just(Write::Works),
        1 => Just(Write::Fails),
        1 => Just(Write::FailsLate),
        1 => (0usize..20).prop_map(Write::HasRoomFor),
    ];
    let turn = (write, prop::option::of(simple_step()))
        .prop_map(|(write, meanwhile)| Step::Turn { write, meanwhile: Box::new(meanwhile) });
    prop_oneof![30 => simple_step(), 15 => turn, 2 => Just(Step::Reopen), 1 => Just(Step::Close)]
}

struct Run {
    queue: Queue,
    disk: Disk,
    under_way: Vec<Vec<Encoded>>,
    told: Vec<oneshot::Receiver<Result<(), DropReason>>>,
    captured: u64,
}

impl Run {
    fn new(overflow: Overflow, write_ahead: bool) -> Self {
        let limits = Limits {
            events: 50,
            bytes: 1 << 24,
            event_bytes: 1 << 10,
            batch_events: 10,
            batch_bytes: 1 << 20,
            overflow,
            dead_letters: DeadLetterLimits { events: 5, bytes: 1 << 20 },
        };
        let queue = Queue::new(limits, 1_000, None);
        queue.expect_disk(1 << 30);
        queue.disk_opened(Contents::default(), Fill::default(), write_ahead);
        Self { queue, disk: Disk::default(), under_way: Vec::new(), told: Vec::new(), captured: 0 }
    }

    fn step(&mut self, step: Step) {
        let queue = &self.queue;
        match step {
            Step::Capture { events, durable } => (0..events).for_each(|_| {
                self.captured += 1;
                let (waiter, told) = oneshot::channel();
                self.told.extend(durable.then_some(told));
                queue
                    .enter(event::Captured::now(Event::new("event", "user")), &mut durable.then_some(waiter));
            }),
            Step::Encode => {
                let encoded = |raw: event::Captured| (raw.ticket, Ok(Bytes::from_static(b"{}")));
                queue.put_encoded(queue.take_raw().into_iter().map(encoded).collect(), VecDeque::new());
            }
            Step::Take { from_disk } => {
                queue.make_due();
                self.under_way.extend(queue.take_batch(1 << 16, from_disk));
            }
            Step::Deliver => {
                if let Some(batch) = self.under_way.pop() {
                    queue.settle(&batch, None);
                }
            }
            Step::GiveBack => {
                if !self.under_way.is_empty() {
                    queue.give_back_failed(&self.under_way.remove(0));
                }
            }
            Step::Bury => {
                if let Some(batch) = self.under_way.pop() {
                    let (first, second) =
                        if batch.len() > 1 { queue.halve(batch) } else { (batch, Vec::new()) };
                    self.under_way.extend([second].into_iter().filter(|part| !part.is_empty()));
                    match first.as_slice() {
                        [event] => drop(queue.bury(event, &Error::new(ErrorKind::BadRequest))),
                        _ => self.under_way.push(first),
                    }
                }
            }
            Step::Replay => drop(queue.replay_dead_letters()),
            Step::Discard => drop(queue.discard_dead_letters()),
            Step::Trouble(trouble) => queue.set_in_trouble(trouble),
            Step::Turn { write, meanwhile } => self.turn(write, *meanwhile),
            Step::Reopen => {
                let failing = queue.state().disk.state == DiskState::Failing;
                if failing {
                    queue.disk_recovered(|number| self.disk.events.contains_key(&number));
                }
            }
            Step::Close => drop(queue.close()),
        }
    }

    fn turn(&mut self, write: Write, meanwhile: Option<Step>) {
        let limits = &self.queue.limits;
        let now = std::time::Instant::now();
        if self.queue.state().disk.state == DiskState::Failing {
            return;
        }
        let Some(turn) = self.queue.state().turn(limits, now) else { return };
        turn.released.iter().for_each(|number| {
            self.disk.held.remove(number);
        });
        let applied = turn.changes.as_ref().and_then(|changes| match write {
            Write::Works => Some(self.disk.apply(changes, usize::MAX)),
            Write::HasRoomFor(events) => Some(self.disk.apply(changes, events)),
            Write::Fails => None,
            Write::FailsLate => {
                self.disk.apply(changes, usize::MAX);
                None
            }
        });
        if let Some(note) = turn.note {
            self.disk.totals = note;
        }
        let failed = applied.is_none() && turn.changes.is_some();
        if let Some(step) = meanwhile {
            self.step(step);
        }
        let loaded = match turn.load {
            Some((events, _)) if !failed => self.disk.load(events),
            _ => Read::default(),
        };
        self.queue.finish_turn(turn, applied, loaded, self.disk.fill());
        if failed {
            self.queue.disk_failed(SpoolIssue::Io);
        }
    }

    /// What was journalled is written at the next turn.
    fn journal_is_due(&self) {
        self.queue.state().disk.journal.since = std::time::Instant::now().checked_sub(Duration::from_secs(5));
    }

    /// Events that another process left on disk.
    fn inherit(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let before = self.disk.events.len();
        self.disk.events.extend(numbers.into_iter().map(|number| (number, on_disk(number))));
        let events = (self.disk.events.len() - before) as u64;
        self.queue.state().inherit(&Totals { captured: events, ..Totals::default() }, events);
        self.captured += events;
    }

    /// In an outage, events go to disk and out of memory; then what lies there comes back.
    fn write_and_read_back(&mut self, events: u8) {
        self.step(Step::Trouble(true));
        self.step(Step::Capture { events, durable: false });
        self.step(Step::Encode);
        self.turn(Write::Works, None);
        drop(self.queue.state().release_copies());
        self.turn(Write::Works, None);
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let state = self.queue.state();
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = state.ledger;
        prop_assert_eq!(captured, self.captured);
        prop_assert_eq!(captured, delivered + queued + spooled + dead_lettered + dropped.total());
        prop_assert_eq!(dropped.count(DropReason::Crash), 0, "nothing is missing on disk");
        let taken = state.under_way.iter().flat_map(|taken| &taken.events);
        let encoded = state.outbox.iter().chain(&state.encoded).chain(&state.backlog).chain(taken);
        let (held, not_held): (Vec<_>, Vec<_>) = encoded.partition(|event| event.stored);
        prop_assert_eq!(state.held as usize, held.len());
        prop_assert_eq!(queued as usize, not_held.len() + state.raw.len());
        for event in &held {
            prop_assert!(self.disk.events.contains_key(&event.number), "{} is not on disk", event.number);
        }
        // Were the process to die now: what lies on disk is counted, and nothing twice.
        let Totals { captured, delivered, dropped } = self.disk.totals;
        let known = delivered + dropped.total() + self.disk.events.len() as u64 + self.disk.dead.len() as u64;
        prop_assert!(known <= captured, "{known} of {captured}");
        Ok(())
    }
}

proptest! {
    /// Guarantee 2 with a spool, as a law: whatever is written, lost, read back, sent and settled in whatever
    /// order, the ledger's equation holds in memory and on disk, and in the end nothing is left anywhere.
    #[test]
    fn the_ledger_balances_with_a_spool_after_every_step(
        steps in prop::collection::vec(step(), 0..150),
        newest in any::<bool>(),
        write_ahead in any::<bool>(),
    ) {
        let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
        let mut run = Run::new(overflow, write_ahead);
        for step in steps {
            run.step(step);
            run.check()?;
        }
        if run.queue.is_closed() {
            return Ok(());
        }
        run.step(Step::Reopen);
        run.step(Step::Trouble(false));
        for _ in 0..100 {
            run.step(Step::Encode);
            run.journal_is_due();
            run.turn(Write::Works, None);
            for from_disk in [true, false] {
                run.step(Step::Take { from_disk });
                run.step(Step::Deliver);
            }
            run.check()?;
        }
        let ledger = run.queue.ledger();
        prop_assert_eq!((ledger.queued, ledger.spooled), (0, 0), "{:?}", ledger);
        prop_assert!(run.disk.events.is_empty());
        prop_assert_eq!(run.disk.dead.len() as u64, ledger.dead_lettered);
        prop_assert!(run.queue.state().disk.waiters.is_empty(), "everybody was told");
    }
}

fn on_disk(number: u64) -> Stored {
    Stored { number, at: 0, attempts: 0, json: Bytes::from_static(b"{}") }
}

/// What a burst of captures pushes out of memory while the disk is being read is flushed too.
#[test]
fn what_is_released_during_a_load_is_waited_for() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.step(Step::Trouble(true));
    let capture = |run: &mut Run| {
        run.step(Step::Capture { events: 5, durable: false });
        run.step(Step::Encode);
    };
    capture(&mut run); // 1000..1005
    run.step(Step::Take { from_disk: false });
    run.turn(Write::Works, None); // on disk, and under way
    capture(&mut run); // 1005..1010
    run.turn(Write::Works, None);
    drop(run.queue.state().release_copies()); // 1005..1010 on disk only
    let batch = run.under_way.pop().unwrap();
    run.queue.give_back(&batch); // 1000..1005 in memory and on disk
    run.step(Step::Trouble(false));
    let flushed = run.queue.make_due();

    let turn = run.queue.state().turn(&run.queue.limits, std::time::Instant::now()).unwrap();
    assert!(turn.load.is_some());
    run.disk.held.retain(|number| !turn.released.contains(number));
    let applied = turn.changes.as_ref().map(|changes| run.disk.apply(changes, usize::MAX));
    let loaded = run.disk.load(20);
    // While the disk reads, a burst of captures makes room.
    drop(run.queue.state().release_copies());
    run.queue.finish_turn(turn, applied, loaded, run.disk.fill());
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
    let numbers: Vec<u64> = run.queue.state().backlog.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [5, 1000, 1001, 1002]);
    let flushed = run.queue.make_due();
    let settled = *run.queue.settled_to.borrow();
    assert!(settled < flushed, "flush({flushed}) resolves at {settled}, nothing was sent");
}

/// What was read back from a file that was then lost is in memory only.
#[test]
fn closing_with_a_backlog_after_the_file_was_remade() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5, 6, 7]);
    run.turn(Write::Works, None);
    assert_eq!(run.queue.state().backlog.len(), 3);
    run.queue.disk_recovered(|_| false);
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
    run.step(Step::Encode);
    run.turn(Write::Works, None);
    // Reopened at an older commit.
    run.disk.events.clear();
    run.queue.disk_recovered(|_| false);
    run.step(Step::Capture { events: 1, durable: false });
    run.step(Step::Encode);
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
    run.step(Step::Encode);
    run.step(Step::Take { from_disk: false });
    run.step(Step::Bury);
    run.journal_is_due();
    run.turn(Write::Works, None);
    assert_eq!(run.disk.dead.len(), 1);
    run.step(Step::Discard);
    run.queue.state().disk.noted.1 = None;
    run.turn(Write::Works, None);
    run.check().unwrap();
}

/// The same for events that are thrown away over quota.
#[test]
fn a_note_after_over_quota_counts_no_event_twice() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.step(Step::Capture { events: 5, durable: false });
    run.step(Step::Encode);
    run.turn(Write::Works, None);
    run.step(Step::Take { from_disk: false });
    let batch = run.under_way.pop().unwrap();
    run.queue.settle(&batch, Some(DropReason::OverQuota));
    run.queue.state().disk.noted.1 = None;
    run.turn(Write::Works, None);
    run.check().unwrap();
}

/// And for events that were delivered: on disk until the next write, they are not delivered yet as far as a crash can
/// tell.
#[test]
fn a_note_after_a_delivery_counts_no_event_twice() {
    let mut run = Run::new(Overflow::DropNewest, true);
    run.step(Step::Capture { events: 5, durable: false });
    run.step(Step::Encode);
    run.turn(Write::Works, None);
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    run.queue.state().disk.noted.1 = None;
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
    run.queue.disk_failed(SpoolIssue::Io);
    run.step(Step::Encode);
    let ledger = run.queue.ledger();
    assert_eq!((ledger.queued, ledger.dropped.total()), (1, 0), "{ledger:?}");
}

/// A record that cannot be read, in an idle service.
#[test]
fn a_load_that_gives_nothing_is_not_repeated_at_once() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.queue.state().inherit(&Totals { captured: 1, ..Totals::default() }, 1);
    run.disk.events.insert(5, on_disk(5));
    run.disk.held.insert(5); // the store skips it
    run.turn(Write::Works, None);
    let mut turns = 0;
    while run.queue.next_turn(Duration::ZERO).is_some_and(|turn| {
        run.queue.finish_turn(turn, None, Read::default(), run.disk.fill());
        true
    }) {
        turns += 1;
        assert!(turns < 1_000, "the thread spins");
    }
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
    run.step(Step::Encode);
    run.step(Step::Take { from_disk: false });
    run.step(Step::Deliver);
    run.check().unwrap();
    let flushed = run.queue.make_due();
    let settled = *run.queue.settled_to.borrow();
    assert!(settled >= flushed, "flush({flushed}) waits at {settled} for the events of another process");
}

/// A backlog that is no longer on disk is written again when delivery stands still.
#[test]
fn the_backlog_of_a_remade_file_goes_to_disk_again() {
    let mut run = Run::new(Overflow::DropNewest, false);
    run.inherit([5, 6, 7]);
    run.turn(Write::Works, None);
    run.queue.disk_recovered(|_| false);
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
    let sizes =
        [true, true, true].map(|from_disk| run.queue.take_batch(1 << 16, from_disk).map(|batch| batch.len()));
    assert_eq!(sizes, [Some(1), Some(3), None]);
}

#[test]
fn nothing_is_read_back_into_a_full_memory_or_for_a_closed_queue() {
    let loads = |run: &Run| {
        let turn = run.queue.state().turn(&run.queue.limits, std::time::Instant::now());
        turn.is_some_and(|turn| turn.load.is_some())
    };
    let with_backlog = || {
        let run = Run::new(Overflow::DropNewest, false);
        run.queue.state().inherit(&Totals { captured: 1, ..Totals::default() }, 1);
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
    assert!(closed.queue.is_done());
}
