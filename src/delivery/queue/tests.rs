use std::collections::VecDeque;

use bytes::Bytes;
use posthog_rs::Event;
use proptest::prelude::*;
use tokio_test::task;

use super::*;
use crate::delivery::DeadLetterLimits;
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

fn event() -> Event {
    Event::new("event", "user")
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
            queue.capture(event());
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
    Encode { lose: bool },
    Take { due: bool },
    Deliver,
    Drop,
    GiveBack,
    Halve,
    Bury,
    Replay,
    Discard,
    Close,
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..20).prop_map(Step::Capture),
        1 => Just(Step::Refuse),
        6 => any::<bool>().prop_map(|lose| Step::Encode { lose }),
        6 => any::<bool>().prop_map(|due| Step::Take { due }),
        4 => Just(Step::Deliver),
        1 => Just(Step::Drop),
        3 => Just(Step::GiveBack),
        2 => Just(Step::Halve),
        2 => Just(Step::Bury),
        1 => Just(Step::Replay),
        1 => Just(Step::Discard),
        1 => Just(Step::Close),
        1 => Just(Step::Abandon),
    ]
}

fn encode(queue: &Queue, lose: bool) {
    let result = |_| if lose { Err(DropReason::BeforeSend) } else { Ok(Bytes::from_static(b"{}")) };
    queue.put_encoded(
        queue.take_raw().into_iter().map(|raw| (raw.ticket, result(()))).collect(),
        VecDeque::new(),
    );
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
        let mut under_way: Vec<Vec<Encoded>> = Vec::new();
        let (mut captured, mut owed) = (0, 0);
        for step in steps {
            match step {
                Step::Capture(events) => {
                    (0..events).for_each(|_| { captured += 1; queue.capture(event()) });
                    if !queue.is_closed() { owed = queue.state().next_number; }
                }
                Step::Refuse => { captured += 1; queue.capture(Event::new("", "user")) }
                Step::Encode { lose } => encode(&queue, lose),
                Step::Take { due } => {
                    if due { queue.make_due(); }
                    under_way.extend(queue.take_batch(1 << 16, false));
                }
                Step::Deliver => if let Some(batch) = under_way.pop() { queue.settle(&batch, None) },
                Step::Drop => if let Some(batch) = under_way.pop() {
                    queue.settle(&batch, Some(DropReason::OverQuota));
                },
                Step::GiveBack => if !under_way.is_empty() { queue.give_back(&under_way.remove(0)) },
                Step::Halve => if let Some(batch) = under_way.pop_if(|batch| batch.len() > 1) {
                    under_way.extend(<[_; 2]>::from(queue.halve(batch)));
                },
                Step::Bury => if let Some(batch) = under_way.pop_if(|batch| batch.len() == 1) {
                    queue.bury(&batch[0], &Error::new(ErrorKind::BadRequest));
                },
                Step::Replay => { queue.replay_dead_letters(); }
                Step::Discard => { queue.discard_dead_letters(); }
                Step::Close => { queue.close(); }
                Step::Abandon => { queue.abandon(); }
            }
            let state = queue.state();
            let Ledger { delivered, queued, dead_lettered, dropped, .. } = state.ledger;
            prop_assert_eq!(state.ledger.captured, captured);
            prop_assert_eq!(captured, delivered + queued + dead_lettered + dropped.total());
            prop_assert_eq!(dead_lettered as usize, state.dead.to_vec().len());
            prop_assert!(queued <= 50);
            if state.abandoned {
                prop_assert_eq!(queued, 0);
            } else {
                let away: usize = under_way.iter().map(Vec::len).sum();
                prop_assert_eq!(queued as usize, state.raw.len() + state.encoded.len() + away);
                prop_assert!(state.encoded.iter().map(|event| event.number).is_sorted());
            }
            if queued == 0 {
                prop_assert_eq!((state.bytes, state.raw_bytes), (0, 0));
                prop_assert!(*queue.settled_to.borrow() >= owed);
                prop_assert_eq!(state.settled_to(), state.next_number);
            }
        }
    }
}

#[test]
fn settled_waits_for_the_events_before_and_not_for_those_after() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    (0..20).for_each(|_| queue.capture(event()));
    let number = queue.flush();
    (0..10).for_each(|_| queue.capture(event()));
    (0..3).for_each(|_| encode(&queue, false));
    let first = queue.take_batch(1 << 16, false).unwrap();
    let second = queue.take_batch(1 << 16, false).unwrap();
    let third = queue.take_batch(1 << 16, false).unwrap();
    let mut waiting = task::spawn(queue.settled(number));
    for (batch, is_last) in [(third, false), (second, false), (first, true)] {
        assert!(waiting.poll().is_pending());
        queue.settle(&batch, None);
        assert_eq!(waiting.is_woken() && waiting.poll().is_ready(), is_last);
    }
}

/// An event counts as the mean until it is encoded, but none is refused on a guess.
#[test]
fn what_a_guess_leaves_no_room_for_is_measured() {
    let mut queue = queue(1_000, 10, Overflow::DropNewest);
    queue.limits.bytes = 10_000;
    let encoded = |raw: Captured| (raw.ticket, Ok(Bytes::from(vec![b'x'; 1_000])));
    for _ in 0..200 {
        queue.capture(event());
        queue.put_encoded(queue.take_raw().into_iter().map(encoded).collect(), VecDeque::new());
        let taken = queue.take_batch(1 << 20, false).or_else(|| {
            queue.make_due();
            queue.take_batch(1 << 20, false)
        });
        queue.settle(&taken.unwrap(), None);
    }
    (0..20).for_each(|_| queue.capture(event()));
    let snapshot = queue.snapshot();
    assert!(snapshot.ledger.queued > 10 && snapshot.fill.bytes <= 10_000, "{snapshot:?}");
    let refused = snapshot.ledger.dropped.count(DropReason::QueueFull);
    assert!(refused < 10 && snapshot.fill.bytes > 9_500, "{snapshot:?}");
}

#[test]
fn flush_waits_for_no_event_that_was_refused() {
    let queue = queue(1_000, 10, Overflow::DropNewest);
    queue.capture(Event::new("", "user"));
    let number = queue.flush();
    assert!(task::spawn(queue.settled(number)).poll().is_ready());
}

#[test]
fn an_event_as_large_as_may_be_is_sent_and_a_larger_one_is_set_aside() {
    let queue = queue(10, 10, Overflow::DropNewest);
    let most = queue.limits.event_bytes;
    (0..2).for_each(|_| queue.capture(event()));
    let sizes = [most, most + 1];
    let encoded = queue.take_raw().into_iter().zip(sizes);
    let encoded = encoded.map(|(captured, size)| (captured.ticket, Ok(Bytes::from(vec![b'x'; size]))));
    queue.put_encoded(encoded.collect(), VecDeque::new());
    let ledger = queue.ledger();
    assert_eq!((ledger.queued, ledger.dead_lettered), (1, 1));
    assert_eq!(queue.dead_letters()[0].event.len(), most + 1);
}

#[test]
fn the_queue_is_full_at_its_last_byte_and_not_before() {
    let queue = queue(10, 10, Overflow::DropNewest);
    queue.capture(event());
    let mut state = queue.state();
    let size = queue.limits.bytes - state.bytes;
    assert!(state.has_room(size, &queue.limits) && !state.has_room(size + 1, &queue.limits));
    state.ledger.queued = queue.limits.events as u64 - 1;
    assert!(state.has_room(1, &queue.limits));
    state.ledger.queued += 1;
    assert!(!state.has_room(1, &queue.limits));
}
