use std::collections::BTreeMap;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Who waits for a token, in order of arrival. It is pure: time is an argument, and wakers are returned, because to wake one and
/// to drop one is to run code of the executor, which may come back here.
///
/// Each waiter has a timer for the moment when its token should be there, so that one wake gets it its token. If the moment
/// comes earlier, because somebody before it has gone, the first waiter is woken. A waiter that is not polled when its moment
/// has come, because its task does something else, gives way to whoever asks. It keeps its place for when it is polled.
#[derive(Debug, Default)]
pub struct Waiters {
    /// By their tickets.
    waiting: BTreeMap<u64, Waiter>,
    /// Those that missed their moment.
    missed: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    /// When its timer wakes it.
    due: Instant,
    waker: Waker,
}

/// How late a waiter may be before others go first: timers have a resolution of a millisecond, and tasks wait for a thread.
const LATE: Duration = Duration::from_millis(10);

impl Waiters {
    /// Whether anybody waits who has not missed its moment.
    pub fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many stand before this ticket, or before a newcomer.
    pub fn before(&self, ticket: Option<u64>) -> u32 {
        let line = self.waiting.len();
        let Some(ticket) = ticket else { return u32::try_from(line).unwrap_or(u32::MAX) };
        // Exact for the first two. For the others, tickets that are gone may count too: that only makes a timer late, and who is
        // first is woken anyway.
        let before = match self.waiting.range(..ticket).take(2).count() {
            2 => {
                let first = self.waiting.first_key_value().map_or(ticket, |(first, _)| *first);
                usize::try_from(ticket - first).map_or(line, |tickets| tickets.clamp(2, line.max(2)))
            }
            exact => exact,
        };
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Whether a token that is there now is this ticket's, or a newcomer's. The first waiter gives way if it misses its moment.
    pub fn is_turn(&mut self, ticket: Option<u64>, now: Instant) -> bool {
        let Some((&first, waiter)) = self.waiting.first_key_value() else { return true };
        if ticket.is_some_and(|ticket| ticket <= first) {
            return true;
        }
        let misses = now.saturating_duration_since(waiter.due) > LATE;
        if misses && let Some(waiter) = self.waiting.remove(&first) {
            self.missed.insert(first, waiter);
        }
        misses
    }

    /// Waits, with a timer for that moment. Returns the ticket, and a waker that is of no use any more.
    pub fn wait(&mut self, ticket: Option<u64>, due: Instant, waker: &Waker) -> (u64, Option<Waker>) {
        let ticket = ticket.unwrap_or_else(|| {
            self.next_ticket += 1;
            self.next_ticket
        });
        let before = self.missed.remove(&ticket).or_else(|| self.waiting.remove(&ticket));
        let (waker, old) = match before {
            Some(waiter) if waiter.waker.will_wake(waker) => (waiter.waker, None),
            Some(waiter) => (waker.clone(), Some(waiter.waker)),
            None => (waker.clone(), None),
        };
        self.waiting.insert(ticket, Waiter { due, waker });
        (ticket, old)
    }

    /// Leaves, with a token or without one. Returns the waker.
    pub fn leave(&mut self, ticket: u64) -> Option<Waker> {
        let waiter = self.waiting.remove(&ticket).or_else(|| self.missed.remove(&ticket));
        waiter.map(|waiter| waiter.waker)
    }

    /// The token of the first waiter is there at that moment. Returns its waker if its timer is for a later one, and that of the
    /// second, which goes first if nobody polls the first.
    pub fn hurry(&mut self, at: Instant, period: Duration) -> [Option<Waker>; 2] {
        let mut first = self.waiting.values_mut();
        [at, at.checked_add(period).unwrap_or(at)].map(|at| {
            let waiter = first.next()?;
            // A timer's resolution is no difference.
            if waiter.due <= at + Duration::from_millis(1) {
                return None;
            }
            waiter.due = at;
            Some(waiter.waker.clone())
        })
    }
}
