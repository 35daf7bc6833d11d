use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::super::spool_link::Watch;
use super::super::*;
use crate::delivery::DeadLetterLimits;
use crate::delivery::ledger::Account;
use crate::delivery::spool::{Applied, Changes, Contents, Fill, Stored};
use crate::{Error, ErrorKind};

/// A disk that does what the store promises.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) events: BTreeMap<u64, Stored>,
    pub(super) dead: BTreeSet<u64>,
    pub(super) held: BTreeSet<u64>,
    /// As written, or as noted since.
    pub(super) totals: Totals,
}

impl Disk {
    pub(super) fn apply(&mut self, changes: &Changes, room: usize) -> Applied {
        for number in &changes.settle {
            self.events.remove(number);
            self.held.remove(number);
        }
        changes.discard.iter().for_each(|number| {
            self.dead.remove(number);
        });
        assert!(changes.put.is_sorted_by_key(|event| event.seq));
        let written = changes.put.len().min(room);
        for event in &changes.put[..written] {
            self.events.insert(event.seq, event.clone());
            self.held.insert(event.seq);
            self.dead.remove(&event.seq);
        }
        for (number, _) in &changes.dead_letter {
            self.events.remove(number);
            self.held.remove(number);
            self.dead.insert(*number);
        }
        self.totals = changes.totals;
        Applied { written, ..Applied::default() }
    }

    pub(super) fn load(&mut self, most: usize) -> Read {
        let unheld = self.events.values().filter(|event| !self.held.contains(&event.seq));
        let is_all = unheld.clone().count() <= most;
        let events: Vec<Stored> = unheld.take(most).cloned().collect();
        self.held.extend(events.iter().map(|event| event.seq));
        Read { events, is_all }
    }

    pub(super) fn fill(&self) -> Fill {
        Fill { events: self.events.len() as u64, ..Fill::default() }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Write {
    Works,
    /// Nothing is written.
    Fails,
    /// All is written, and nobody knows.
    FailsLate,
    HasRoomFor(usize),
    /// It is given up, and works after all.
    Hangs,
}

/// What the worker and the spool's thread do, in any order, with any result.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Capture {
        events: u8,
        durable: bool,
    },
    Take {
        from_disk: bool,
    },
    Deliver,
    GiveBack,
    DeadLetter,
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
        6 => any::<bool>().prop_map(|from_disk| Step::Take { from_disk }),
        5 => Just(Step::Deliver),
        3 => Just(Step::GiveBack),
        2 => Just(Step::DeadLetter),
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
        1 => Just(Write::Hangs),
    ];
    let turn = (write, prop::option::of(simple_step()))
        .prop_map(|(write, meanwhile)| Step::Turn { write, meanwhile: Box::new(meanwhile) });
    prop_oneof![30 => simple_step(), 15 => turn, 2 => Just(Step::Reopen), 1 => Just(Step::Close)]
}

pub(super) struct Run {
    pub(super) queue: Queue,
    pub(super) disk: Disk,
    pub(super) in_flight: Vec<Vec<QueuedEvent>>,
    pub(super) told: Vec<oneshot::Receiver<Result<(), DropReason>>>,
    pub(super) captured: u64,
}

impl Run {
    pub(super) fn new(overflow: Overflow, write_ahead: bool) -> Self {
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
        queue.step(|state| state.spool.expect(1 << 30));
        queue.step(|state| state.spool_opened(Contents::default(), Fill::default(), write_ahead));
        Self { queue, disk: Disk::default(), in_flight: Vec::new(), told: Vec::new(), captured: 0 }
    }

    pub(super) fn step(&mut self, step: Step) {
        let queue = &self.queue;
        match step {
            Step::Capture { events, durable } => (0..events).for_each(|_| {
                self.captured += 1;
                let (waiter, told) = oneshot::channel();
                self.told.extend(durable.then_some(told));
                queue.enter(Bytes::from_static(b"{}"), durable.then_some(waiter));
            }),
            Step::Take { from_disk } => {
                queue.step(State::make_due);
                self.in_flight
                    .extend(queue.step(|state| state.take((state.limits.batch_events, 1 << 16), from_disk)));
            }
            Step::Deliver => {
                if let Some(batch) = self.in_flight.pop() {
                    queue.settle(&batch, Account::Delivered);
                }
            }
            Step::GiveBack => {
                if !self.in_flight.is_empty() {
                    queue.give_back_failed(&self.in_flight.remove(0));
                }
            }
            Step::DeadLetter => {
                if let Some(batch) = self.in_flight.pop() {
                    let half = batch.len() / 2;
                    let (first, second) =
                        if batch.len() > 1 { queue.split(batch, 0..half) } else { (batch, Vec::new()) };
                    self.in_flight.extend([second].into_iter().filter(|part| !part.is_empty()));
                    match first.as_slice() {
                        [event] => {
                            queue.dead_letter(event.dead_letter(&Error::new(ErrorKind::BadRequest)));
                        }
                        _ => self.in_flight.push(first),
                    }
                }
            }
            Step::Replay => drop(queue.replay_dead_letters()),
            Step::Discard => drop(queue.discard_dead_letters()),
            Step::Trouble(trouble) => queue.step(|state| state.set_in_trouble(trouble)),
            Step::Turn { write, meanwhile } => self.turn(write, *meanwhile),
            Step::Reopen => {
                let failing = queue.state().spool.is_failing();
                if failing {
                    let has = |number| self.disk.events.contains_key(&number);
                    queue.step(|state| state.spool_recovered(has, |number| self.disk.dead.contains(&number)));
                }
            }
            Step::Close => drop(queue.close()),
        }
    }

    pub(super) fn turn(&mut self, write: Write, meanwhile: Option<Step>) {
        self.queue.state().spool.end_gathering();
        let now = std::time::Instant::now();
        if self.queue.state().spool.is_failing() {
            return;
        }
        let Some(turn) = self.queue.state().next_work(now) else { return };
        turn.released.iter().for_each(|number| {
            self.disk.held.remove(number);
        });
        let applied = turn.changes.as_ref().and_then(|changes| match write {
            Write::Works | Write::Hangs => Some(self.disk.apply(changes, usize::MAX)),
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
        let hangs = matches!(write, Write::Hangs);
        if hangs {
            self.queue.step(|state| state.spool.begin_round(now));
            let looks = (1..=8).map(|look| now + look * Duration::from_millis(250));
            let gives_up = |at| matches!(self.queue.step(|state| state.watch_disk(at)), Watch::GiveUp { .. });
            assert!({ looks }.any(gives_up));
        }
        if let Some(step) = meanwhile {
            self.step(step);
        }
        let loaded = match turn.load {
            Some((events, _)) if !failed => self.disk.load(events),
            _ => Read::default(),
        };
        if hangs {
            self.queue.step(State::end_disk_round);
        }
        self.queue.finish_work(turn, applied, loaded, self.disk.fill());
        if failed {
            self.queue.spool_failed(SpoolIssue::Io);
        }
    }

    /// What was journalled is written at the next turn.
    pub(super) fn journal_is_due(&self) {
        self.queue.state().spool.journal.make_due();
    }

    /// Events that another process left on disk.
    pub(super) fn inherit(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let before = self.disk.events.len();
        self.disk.events.extend(numbers.into_iter().map(|number| (number, on_disk(number))));
        let events = (self.disk.events.len() - before) as u64;
        self.queue.state().found_on_disk(events);
        self.captured += events;
    }

    /// In an outage, events go to disk and out of memory; then what lies there comes back.
    pub(super) fn write_and_read_back(&mut self, events: u8) {
        self.step(Step::Trouble(true));
        self.step(Step::Capture { events, durable: false });
        self.turn(Write::Works, None);
        drop(self.queue.state().release_live());
        self.turn(Write::Works, None);
    }

    pub(super) fn check(&self) -> Result<(), TestCaseError> {
        let state = self.queue.state();
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = state.ledger();
        prop_assert_eq!(captured, self.captured);
        prop_assert_eq!(captured, delivered + queued + spooled + dead_lettered + dropped.total());
        prop_assert_eq!(dropped.count(DropReason::Crash), 0, "nothing is missing on disk");
        state.memory().assert_exact();
        let (held, not_held): (Vec<_>, Vec<_>) = state.memory().all().partition(|event| event.stored);
        prop_assert_eq!(queued as usize, not_held.len());
        for event in &held {
            prop_assert!(self.disk.events.contains_key(&event.seq), "{} is not on disk", event.seq);
        }
        // Were the process to die now: what lies on disk is counted, and nothing twice.
        let Totals { captured, delivered, dropped } = self.disk.totals;
        let known = delivered + dropped.total() + self.disk.events.len() as u64 + self.disk.dead.len() as u64;
        prop_assert!(known <= captured, "{known} of {captured}");
        Ok(())
    }
}

pub(super) fn on_disk(seq: u64) -> Stored {
    Stored { seq, at: 0, attempts: 0, json: Bytes::from_static(b"{}") }
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
        prop_assert!(!run.queue.state().spool.has_waiters(), "everybody was told");
    }
}
