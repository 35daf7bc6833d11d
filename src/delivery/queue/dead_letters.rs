use tokio::time::Instant;

use super::Queue;
use super::disk::DiskState;
use super::event::{Encoded, Ticket};
use super::limits::Limits;
use super::state::State;
use crate::Error;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::DropReason;

impl Queue {
    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.state().dead.to_vec()
    }

    /// Queues the dead letters again, as long as there is room. Tells how many.
    pub(crate) fn replay_dead_letters(&self) -> u64 {
        let mut replayed = 0;
        let mut state = self.state();
        while state.closed.is_none() {
            let Some(bytes) = state.dead.next_bytes() else { break };
            if !state.has_room(bytes, &self.limits) {
                break;
            }
            let Some(letter) = state.dead.pop() else { break };
            state.ledger.dead_lettered -= 1;
            state.revive(letter);
            replayed += 1;
        }
        self.publish(&mut state);
        drop(state);
        self.flush();
        replayed
    }

    /// Drops the dead letters. Tells how many.
    pub(crate) fn discard_dead_letters(&self) -> u64 {
        let mut state = self.state();
        let discarded = std::mem::take(&mut state.dead).into_vec();
        state.drop_dead(&discarded, DropReason::DeadLetterDiscarded);
        self.publish(&mut state);
        drop(state);
        discarded.len() as u64
    }

    /// Sets an event that is under way aside, with the reason. Tells how many dead letters had to go for it.
    pub(in crate::delivery) fn bury(&self, event: &Encoded, error: &Error) -> usize {
        let letter = DeadLetter::new(event.number, event.json.clone(), error);
        let mut state = self.state();
        let Some(events) = state.untake(Some(event.number)) else { return 0 };
        events.iter().for_each(|event| state.end(event));
        let evicted = state.bury(letter, &self.limits);
        self.publish(&mut state);
        drop(state);
        evicted.len()
    }
}

impl State {
    /// Sets an event aside that has ended. Gives back what had to make room for it.
    pub(super) fn bury(&mut self, letter: DeadLetter, limits: &Limits) -> Vec<DeadLetter> {
        self.ledger.dead_lettered += 1;
        self.last_burial = Some(Instant::now());
        self.buried += u64::from(letter.number() >= self.first_number);
        self.disk.bury(&letter);
        let evicted = self.dead.push(letter, limits.dead_letters);
        self.drop_dead(&evicted, DropReason::DeadLettersFull);
        evicted
    }

    pub(super) fn drop_dead(&mut self, letters: &[DeadLetter], reason: DropReason) {
        self.ledger.dead_lettered -= letters.len() as u64;
        self.lose(letters.len() as u64, reason);
        for letter in letters {
            if self.disk.discard(letter.number()) {
                self.disk.journal.ended.dropped.add(reason, 1);
            }
        }
    }

    /// Makes an event of a dead letter that counts as such no more. It is due at once.
    pub(super) fn revive(&mut self, letter: DeadLetter) {
        let ticket = Ticket { at: letter.at, number: letter.number(), size: 0 };
        self.ledger.queued += 1;
        self.bytes += letter.event.len();
        let event = Encoded::new(letter.event, ticket);
        if self.disk.state == DiskState::Ready {
            // If it is on disk as a dead letter, that goes when it comes as an event.
            self.disk.journal.buried.remove(&event.number);
            self.outbox.push_back(event);
        } else {
            self.disk.discard(event.number);
            self.insert(event);
        }
    }
}
