use bytes::Bytes;
use proptest::prelude::*;
use tokio_test::task;

use super::*;
use crate::delivery::DeadLetterLimits;
use crate::delivery::ledger::Account;
use crate::{Error, ErrorKind};

fn queue(events: usize, batch_events: usize, overflow: Overflow) -> Queue {
    let limits = Limits {
        events,
        bytes: 1 << 24,
        event_bytes: 1 << 10,
        batch_events,
        batch_bytes: 1 << 20,
        overflow,
        dead_letters: DeadLetterLimits { events: 5, bytes: 1 << 20 },
    };
    Queue::new(limits, 1_000, None)
}

/// What the producer does with an event of so many bytes.
fn enter(queue: &Queue, bytes: usize) {
    queue.enter(Bytes::from(vec![b'x'; bytes]), None);
}

fn capture(queue: &Queue) {
    enter(queue, 2);
}

fn wakes(queue: &Queue) -> usize {
    // A notification that nobody waits for is kept, and only one.
    usize::from(task::spawn(queue.wake.notified()).poll().is_ready())
}

#[test]
fn the_worker_is_woken_for_the_first_event_and_for_a_full_batch_only() {
    let queue = queue(10_000, 100, Overflow::DropNewest);
    let woken: Vec<_> = (1..=250)
        .filter(|_| {
            capture(&queue);
            wakes(&queue) > 0
        })
        .collect();
    assert_eq!(woken, [1, 100]);
}

/// What the worker does, in any order, with any result.
#[derive(Clone, Debug)]
enum Step {
    Capture(u8),
    Refuse,
    Take { due: bool },
    Deliver,
    Drop,
    GiveBack,
    Halve,
    DeadLetter,
    Replay,
    Discard,
    Close,
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..20).prop_map(Step::Capture),
        1 => Just(Step::Refuse),
        6 => any::<bool>().prop_map(|due| Step::Take { due }),
        4 => Just(Step::Deliver),
        1 => Just(Step::Drop),
        3 => Just(Step::GiveBack),
        2 => Just(Step::Halve),
        2 => Just(Step::DeadLetter),
        1 => Just(Step::Replay),
        1 => Just(Step::Discard),
        1 => Just(Step::Close),
        1 => Just(Step::Abandon),
    ]
}

proptest! {
    /// Guarantee 2 as a law: whatever happens in whatever order, the ledger's equation holds,
    /// what is queued is really there, bytes return to zero, and nobody waits for what has met its end.
    #[test]
    fn the_ledger_balances_after_every_step(
        steps in prop::collection::vec(step(), 0..120),
        newest in any::<bool>(),
    ) {
        let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
        let queue = queue(50, 10, overflow);
        let mut in_flight: Vec<Vec<QueuedEvent>> = Vec::new();
        let (mut captured, mut owed) = (0, 0);
        for step in steps {
            match step {
                Step::Capture(events) => {
                    (0..events).for_each(|_| { captured += 1; capture(&queue) });
                    if !queue.is_closed() { owed = queue.state().make_due(); }
                }
                Step::Refuse => { captured += 1; queue.refuse(DropReason::NoName, None) }
                Step::Take { due } => {
                    if due { queue.step(State::make_due); }
                    in_flight.extend(queue.step(|state| state.take((state.limits.batch_events, 1 << 16), false)));
                }
                Step::Deliver => if let Some(batch) = in_flight.pop() { queue.settle(&batch, Account::Delivered) },
                Step::Drop => if let Some(batch) = in_flight.pop() {
                    queue.settle(&batch, Account::Dropped(DropReason::OverQuota));
                },
                Step::GiveBack => if !in_flight.is_empty() { queue.give_back(&in_flight.remove(0)) },
                Step::Halve => if let Some(batch) = in_flight.pop_if(|batch| batch.len() > 1) {
                    let half = batch.len() / 2;
                    in_flight.extend(<[_; 2]>::from(queue.split(batch, 0..half)));
                },
                Step::DeadLetter => if let Some(batch) = in_flight.pop_if(|batch| batch.len() == 1) {
                    queue.dead_letter(batch[0].dead_letter(&Error::new(ErrorKind::BadRequest)));
                },
                Step::Replay => { queue.replay_dead_letters(); }
                Step::Discard => { queue.discard_dead_letters(); }
                Step::Close => { queue.close(); }
                Step::Abandon => { queue.abandon(); }
            }
            let state = queue.state();
            let Ledger { delivered, queued, dead_lettered, dropped, .. } = state.ledger();
            prop_assert_eq!(state.ledger().captured, captured);
            prop_assert_eq!(captured, delivered + queued + dead_lettered + dropped.total());
            prop_assert_eq!(dead_lettered as usize, state.dead_letters().len());
            prop_assert!(queued <= 50);
            state.memory().assert_exact();
            prop_assert_eq!(state.memory().events(), queued);
            if queued == 0 {
                prop_assert!(*queue.settled_to.borrow() >= owed);
            }
        }
    }
}

#[test]
fn settled_waits_for_the_events_before_and_not_for_those_after() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    (0..20).for_each(|_| capture(&queue));
    let seq = queue.flush();
    (0..10).for_each(|_| capture(&queue));
    queue.step(State::make_due);
    let first = queue.step(|state| state.take((state.limits.batch_events, 1 << 16), false)).unwrap();
    let second = queue.step(|state| state.take((state.limits.batch_events, 1 << 16), false)).unwrap();
    let third = queue.step(|state| state.take((state.limits.batch_events, 1 << 16), false)).unwrap();
    let mut waiting = task::spawn(queue.settled(seq));
    for (batch, is_last) in [(third, false), (second, false), (first, true)] {
        assert!(waiting.poll().is_pending());
        queue.settle(&batch, Account::Delivered);
        assert_eq!(waiting.is_woken() && waiting.poll().is_ready(), is_last);
    }
}

/// The bound counts what is really there: the bytes and the place of each event, however small its JSON.
#[test]
fn the_bound_of_bytes_is_exact() {
    let mut queue = queue(1_000, 10, Overflow::DropNewest);
    queue.state.get_mut().unwrap().limits.bytes = 100 * (100 + QueuedEvent::bytes_of(&Bytes::new()));
    (0..101).for_each(|_| enter(&queue, 100));
    let snapshot = queue.snapshot();
    assert_eq!((snapshot.ledger.queued, snapshot.fill.bytes), (100, snapshot.fill.capacity_bytes));
    assert_eq!(snapshot.ledger.dropped.count(DropReason::QueueFull), 1);
    queue.step(State::make_due);
    let batch = queue.step(|state| state.take((state.limits.batch_events, 1 << 20), false)).unwrap();
    assert_eq!(queue.snapshot().fill.bytes, snapshot.fill.bytes, "in flight, it is in memory still");
    queue.settle(&batch, Account::Delivered);
    enter(&queue, 100);
    assert_eq!(queue.snapshot().ledger.queued, 91);
}

/// A chunk, and a batch of one event that is a slice of it.
fn batch_in_a_chunk(queue: &Queue) -> (Bytes, Vec<QueuedEvent>) {
    let chunk = Bytes::from(vec![b'x'; 10_000]);
    queue.enter(chunk.slice(..100), None);
    queue.step(State::make_due);
    let batch = queue.step(|state| state.take((state.limits.batch_events, 1 << 20), false)).unwrap();
    (chunk, batch)
}

#[test]
fn an_event_that_comes_back_keeps_no_other_event_in_memory() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    let (chunk, batch) = batch_in_a_chunk(&queue);
    queue.give_back_failed(&batch);
    drop(batch);
    assert!(chunk.is_unique());
    let again = queue.step(|state| state.take((state.limits.batch_events, 1 << 20), false)).unwrap();
    assert_eq!((&again[0].json[..], again[0].attempts), (&[b'x'; 100][..], 1));
}

#[test]
fn a_batch_that_steps_aside_keeps_no_other_event_in_memory() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    let (chunk, mut batch) = batch_in_a_chunk(&queue);
    queue.detach(&mut batch);
    assert!(chunk.is_unique());
    assert_eq!(&batch[0].json[..], &[b'x'; 100][..]);
}

/// Otherwise a bad event that went back to the queue would hold up those that came after it.
#[test]
fn events_that_have_failed_share_no_batch_with_others() {
    let queue = queue(100, 10, Overflow::DropNewest);
    let sizes = |queue: &Queue| {
        queue.step(State::make_due);
        let take = || queue.step(|state| state.take((10, 1 << 16), false)).filter(|batch| !batch.is_empty());
        std::iter::from_fn(take).collect::<Vec<_>>()
    };
    (0..6).for_each(|_| capture(&queue));
    let failed = sizes(&queue);
    queue.give_back_failed(&failed[0]);
    (0..6).for_each(|_| capture(&queue));
    let batches = sizes(&queue);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
    batches.iter().for_each(|batch| queue.give_back(batch));
    assert_eq!(sizes(&queue).iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
}

#[test]
fn a_full_queue_refuses_before_an_event_is_encoded_unless_there_may_be_room() {
    let newest = queue(2, 1, Overflow::DropNewest);
    let oldest = queue(2, 1, Overflow::DropOldest);
    for queue in [&newest, &oldest] {
        assert_eq!(queue.look(State::refuses_all), None);
        (0..2).for_each(|_| capture(queue));
    }
    assert_eq!(
        (newest.look(State::refuses_all), oldest.look(State::refuses_all)),
        (Some(DropReason::QueueFull), None)
    );
    newest.close();
    assert_eq!(newest.look(State::refuses_all), Some(DropReason::AfterShutdown));
}

/// The worker tells the log: no subscriber runs on a caller's thread.
#[test]
fn an_overflow_wakes_the_worker_once_and_is_news_once() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let queue = queue(20, 10, overflow);
        (0..20).for_each(|_| capture(&queue));
        assert!(wakes(&queue) > 0 && !queue.step(State::take_overflow_news));
        capture(&queue);
        assert_eq!((wakes(&queue), queue.step(State::take_overflow_news)), (1, true), "{overflow:?}");
        (0..100).for_each(|_| capture(&queue));
        assert_eq!((wakes(&queue), queue.step(State::take_overflow_news)), (0, false), "{overflow:?}");
    }
}

#[test]
fn flush_waits_for_no_event_that_was_refused() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    queue.refuse(DropReason::NoName, None);
    let seq = queue.flush();
    assert!(task::spawn(queue.settled(seq)).poll().is_ready());
}

#[test]
fn an_event_as_large_as_may_be_is_sent_and_a_larger_one_is_set_aside() {
    let queue = queue(10, 10, Overflow::DropNewest);
    let most = queue.limits().event_bytes;
    [most, most + 1].into_iter().for_each(|bytes| enter(&queue, bytes));
    let ledger = queue.ledger();
    assert_eq!((ledger.queued, ledger.dead_lettered), (1, 1));
    assert_eq!(queue.dead_letters()[0].event.len(), most + 1);
}

#[test]
fn the_queue_is_full_at_its_last_event_and_not_before() {
    let queue = queue(10, 10, Overflow::DropNewest);
    (0..11).for_each(|_| capture(&queue));
    let ledger = queue.ledger();
    assert_eq!((ledger.queued, ledger.dropped.count(DropReason::QueueFull)), (10, 1));
}
