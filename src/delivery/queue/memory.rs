use std::collections::VecDeque;

use bytes::Bytes;

use super::limits::Limits;
use super::queued::{InFlight, QueuedEvent};
use crate::api::ENVELOPE_BYTES;

/// The events in memory, in their lanes, and how many bytes they take.
///
/// The only place where an event enters or leaves memory, so the bytes are exact. Lanes are in the order of capture.
#[derive(Debug, Default)]
pub struct Memory {
    /// Events that go to disk before they may be sent.
    outbox: VecDeque<QueuedEvent>,
    /// Live events that may be sent.
    live: VecDeque<QueuedEvent>,
    /// Events that were read back from disk.
    backlog: VecDeque<QueuedEvent>,
    in_flight: Vec<InFlight>,
    events: u64,
    bytes: usize,
    /// Those that take no room of new ones.
    uncharged: Uncharged,
    /// Events that are on disk too.
    stored: u64,
    /// Those among the live ones.
    live_stored: usize,
    live_bytes: usize,
}

/// Events that are on disk, and under way or read back from there. The worker bounds their number, by its attempts and by
/// how much steps aside, so they need not keep new events out: a small queue with large batches would be full of them, and
/// drop what the disk has room for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uncharged {
    events: u64,
    bytes: usize,
}

impl Uncharged {
    fn add(&mut self, event: &QueuedEvent) {
        self.events += 1;
        self.bytes += event.bytes();
    }

    fn remove(&mut self, event: &QueuedEvent) {
        self.events -= 1;
        self.bytes -= event.bytes();
    }
}

/// A lane for that many events is allocated when the queue is made, and so never grows while the queue is locked. Pages
/// that no event has touched yet cost nothing.
const LANE: usize = 1 << 16;

impl Memory {
    pub fn new(limits: &Limits) -> Self {
        let lane = || VecDeque::with_capacity(limits.events.min(LANE));
        Self { live: lane(), outbox: lane(), ..Self::default() }
    }

    /// All of them, those in flight included.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Those that are on disk too.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether events wait that are not in flight.
    pub fn has_waiting(&self) -> bool {
        [&self.outbox, &self.live, &self.backlog].into_iter().any(|lane| !lane.is_empty())
    }

    /// Those that take the room of new ones.
    pub fn room_taken(&self) -> (u64, usize) {
        (self.events - self.uncharged.events, self.bytes - self.uncharged.bytes)
    }

    /// Live events that are on disk too: what can make room without a loss.
    pub fn live_stored(&self) -> usize {
        self.live_stored
    }

    /// Whether the live events that are in memory only are worth a write: a batch, by number or by bytes, or an eighth of
    /// what has room.
    pub fn has_unstored_batch(&self, limits: &Limits) -> bool {
        let unstored = self.live.len() - self.live_stored;
        let bytes = self.live_bytes / self.live.len().max(1) * unstored;
        unstored >= limits.batch_events.min(limits.events / 8).max(1) || bytes >= limits.batch_bytes
    }

    /// Whether one more event of this size has room.
    pub fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        let (events, taken) = self.room_taken();
        events < limits.events as u64 && taken + bytes <= limits.bytes
    }

    pub fn is_over_half(&self, limits: &Limits) -> bool {
        let (events, bytes) = self.room_taken();
        events * 2 > limits.events as u64 || bytes * 2 > limits.bytes
    }

    pub fn is_under_half(&self, limits: &Limits) -> bool {
        let (events, bytes) = self.room_taken();
        events < limits.events as u64 / 2 && bytes < limits.bytes / 2
    }

    /// Adds the newest event. Whether the worker must be woken: for the first event of a linger period and for a full
    /// batch, never for each event.
    #[inline]
    pub fn push(&mut self, event: QueuedEvent, limits: &Limits) -> bool {
        let bytes_before = self.live_bytes;
        self.count_in(&event);
        self.count_live_in(&event);
        self.live.push_back(event);
        let fills_bytes = bytes_before < limits.batch_bytes && self.live_bytes >= limits.batch_bytes;
        self.live.len() == 1 || self.live.len() == limits.batch_events || fills_bytes
    }

    /// Adds an event that goes to disk before it may be sent.
    pub fn push_outbox(&mut self, event: QueuedEvent) {
        self.count_in(&event);
        self.outbox.push_back(event);
    }

    /// Puts an event where its place in the order is.
    pub fn insert(&mut self, event: QueuedEvent) {
        self.count_in(&event);
        self.put(event);
    }

    /// Takes the next batch that is full, or whose first event is due, to be sent. Events that have failed share no batch
    /// with others: a bad one among them would hold up those that came after it.
    pub fn take(
        &mut self,
        from_disk: bool,
        due_to: u64,
        first_seq: u64,
        (batch_events, batch_bytes): (usize, usize),
    ) -> Option<Vec<QueuedEvent>> {
        let lane = if from_disk { &mut self.backlog } else { &mut self.live };
        let kind = |event: &QueuedEvent| (event.seq < first_seq, event.attempts > 0);
        let (first, first_kind) = lane.front().map(|event| (event.seq, kind(event)))?;
        let (mut count, mut bytes) = (0, ENVELOPE_BYTES);
        for event in lane.iter().take(batch_events) {
            bytes += event.json.len() + 1;
            if count > 0 && (bytes > batch_bytes || kind(event) != first_kind) {
                break;
            }
            count += 1;
        }
        let is_full = count == batch_events || bytes > batch_bytes;
        if !is_full && first >= due_to && !from_disk {
            return None;
        }
        let events: Vec<_> = lane.drain(..count).collect();
        if !from_disk {
            events.iter().for_each(|event| self.count_live_out(event));
            events.iter().filter(|event| event.stored).for_each(|event| self.uncharged.add(event));
        }
        self.in_flight.push(InFlight { first, events: events.clone() });
        Some(events)
    }

    /// Takes a batch out of flight and out of memory. `None` when everything was given up.
    pub fn land(&mut self, first: u64) -> Option<Vec<QueuedEvent>> {
        let at = self.in_flight.iter().position(|batch| batch.first == first)?;
        let InFlight { events, .. } = self.in_flight.swap_remove(at);
        events.iter().filter(|event| event.stored).for_each(|event| self.uncharged.remove(event));
        events.iter().for_each(|event| self.count_out(event));
        Some(events)
    }

    /// Exchanges the JSON of a batch in flight for copies, and leaves it to be freed outside the lock.
    pub fn swap_json(&mut self, first: u64, copies: &mut [Bytes]) {
        let batch = self.in_flight.iter_mut().find(|batch| batch.first == first);
        let events = batch.into_iter().flat_map(|batch| &mut batch.events);
        events.zip(copies).for_each(|(event, copy)| std::mem::swap(&mut event.json, copy));
    }

    /// Divides a batch in flight into several: each of its events goes to the group with this number.
    pub fn divide(&mut self, first: u64, groups: &[usize]) {
        let Some(at) = self.in_flight.iter().position(|batch| batch.first == first) else { return };
        let InFlight { events, .. } = self.in_flight.swap_remove(at);
        let divided = group(events, groups).into_iter();
        self.in_flight.extend(divided.filter_map(InFlight::of));
    }

    /// Puts events of a batch that has landed in flight again, as a batch of their own.
    pub fn fly_again(&mut self, events: Vec<QueuedEvent>) {
        events.iter().filter(|event| event.stored).for_each(|event| self.uncharged.add(event));
        events.iter().for_each(|event| self.count_in(event));
        self.in_flight.extend(InFlight::of(events));
    }

    /// Gives up the live event that has waited longest, or else the one that has waited longest for the disk.
    pub fn evict(&mut self) -> Option<QueuedEvent> {
        let live = self.live.pop_front();
        live.iter().for_each(|oldest| self.count_live_out(oldest));
        let oldest = live.or_else(|| self.outbox.pop_front())?;
        self.count_out(&oldest);
        Some(oldest)
    }

    /// Forgets the live events that are on disk too.
    pub fn release_live(&mut self) -> VecDeque<QueuedEvent> {
        let (copies, others) = self.live.drain(..).partition(|event| event.stored);
        let released: VecDeque<QueuedEvent> = copies;
        self.live.append(&mut { others });
        for event in &released {
            self.count_live_out(event);
            self.count_out(event);
        }
        released
    }

    /// Forgets the backlog, all of which is on disk.
    pub fn release_backlog(&mut self) -> VecDeque<QueuedEvent> {
        let released = std::mem::take(&mut self.backlog);
        released.iter().for_each(|event| self.uncharged.remove(event));
        released.iter().for_each(|event| self.count_out(event));
        released
    }

    /// Whether something waits that came later.
    pub fn lingers(&self, due_to: u64) -> bool {
        [&self.outbox, &self.live].into_iter().any(|lane| lane.back().is_some_and(|last| last.seq >= due_to))
    }

    /// The lowest place of an event that waits or is under way, those that were read back from disk left out.
    pub fn first_live(&self) -> Option<u64> {
        let live = self.live.front().map(|event| event.seq);
        let waiting = self.outbox.iter().map(|event| event.seq).min();
        let is_live = |batch: &&InFlight| batch.events.first().is_some_and(|event| !event.from_disk);
        let in_flight = self.in_flight.iter().filter(is_live).map(|batch| batch.first);
        in_flight.chain(live).chain(waiting).min()
    }

    /// The lowest place of an event that is in memory only.
    pub fn first_unstored(&self) -> Option<u64> {
        let lanes = [&self.outbox, &self.live].into_iter().filter_map(first_unstored);
        lanes.chain(self.in_flight.iter().filter_map(|batch| first_unstored(&batch.events))).min()
    }

    /// The lowest place of an event that this process captured, from `first_seq` on, and that is in memory.
    pub fn first_own(&self, first_seq: u64) -> Option<u64> {
        let waiting = self.outbox.iter().map(|event| event.seq).min();
        let live = self.live.front().map(|event| event.seq);
        let is_of_another = |batch: &&InFlight| {
            batch.first < first_seq && batch.events.first().is_some_and(|event| event.from_disk)
        };
        let in_flight = self.in_flight.iter().filter(|batch| !is_of_another(batch)).map(|batch| batch.first);
        let own = self.backlog.partition_point(|event| event.seq < first_seq);
        let backlog = self.backlog.get(own).map(|event| event.seq);
        in_flight.chain(backlog).chain(waiting).chain(live).min()
    }

    /// Forgets everything, and gives it back to be freed outside the lock.
    pub fn clear(&mut self) -> impl Sized + use<> {
        std::mem::take(self)
    }

    /// Puts an event that is counted where its place in the order is.
    fn put(&mut self, event: QueuedEvent) {
        if event.from_disk {
            self.uncharged.add(&event);
        } else {
            self.count_live_in(&event);
        }
        let lane = if event.from_disk { &mut self.backlog } else { &mut self.live };
        let at = lane.partition_point(|other| other.seq < event.seq);
        lane.insert(at, event);
    }

    fn count_in(&mut self, event: &QueuedEvent) {
        self.events += 1;
        self.bytes += event.bytes();
        self.stored += u64::from(event.stored);
    }

    fn count_out(&mut self, event: &QueuedEvent) {
        self.events -= 1;
        self.bytes -= event.bytes();
        self.stored -= u64::from(event.stored);
    }

    fn count_live_in(&mut self, event: &QueuedEvent) {
        self.live_bytes += event.json.len();
        self.live_stored += usize::from(event.stored);
    }

    fn count_live_out(&mut self, event: &QueuedEvent) {
        self.live_bytes -= event.json.len();
        self.live_stored -= usize::from(event.stored);
    }
}

/// Divides a list into several: each element goes to the group with this number.
pub fn group<T>(list: Vec<T>, groups: &[usize]) -> Vec<Vec<T>> {
    let mut divided: Vec<Vec<T>> = Vec::new();
    for (element, group) in list.into_iter().zip(groups) {
        while divided.len() <= *group {
            divided.push(Vec::new());
        }
        divided[*group].push(element);
    }
    divided
}

fn first_unstored<'a>(events: impl IntoIterator<Item = &'a QueuedEvent>) -> Option<u64> {
    events.into_iter().find(|event| !event.stored).map(|event| event.seq)
}

/// What the spool's thread does with it.
#[cfg(feature = "spool")]
impl Memory {
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Takes the events that wait for the disk.
    pub fn take_outbox(&mut self) -> VecDeque<QueuedEvent> {
        let taken = std::mem::take(&mut self.outbox);
        taken.iter().for_each(|event| self.count_out(event));
        taken
    }

    /// Whether an event waits for the disk.
    pub fn is_in_outbox(&self, seq: u64) -> bool {
        self.outbox.iter().any(|event| event.seq == seq)
    }

    /// Takes note that an event is on disk. Whether it is in memory still.
    pub fn mark_stored(&mut self, seq: u64) -> bool {
        let in_outbox = self.outbox.iter().position(|event| event.seq == seq);
        if let Some(mut event) = in_outbox.and_then(|at| self.outbox.remove(at)) {
            event.stored = true;
            self.put(event);
        } else if let Ok(at) = self.live.binary_search_by_key(&seq, |event| event.seq) {
            self.live[at].stored = true;
            self.live_stored += 1;
        } else {
            let in_flight = self.in_flight.iter_mut().flat_map(|batch| &mut batch.events);
            let Some(event) = { in_flight }.find(|event| event.seq == seq) else { return false };
            event.stored = true;
            self.uncharged.add(event);
        }
        self.stored += 1;
        true
    }

    /// What of these is on disk is no longer there. Gives their number.
    pub fn mark_unstored(&mut self, is_missing: impl Fn(u64) -> bool) -> u64 {
        let is_missing = |event: &QueuedEvent| event.stored && is_missing(event.seq);
        let (missing, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.backlog).into_iter().partition(is_missing);
        self.backlog = others;
        let mut unstored = missing.len();
        missing.iter().for_each(|event| self.uncharged.remove(event));
        missing
            .into_iter()
            .for_each(|event| self.put(QueuedEvent { stored: false, from_disk: false, ..event }));
        for event in self.live.iter_mut().filter(|event| is_missing(event)) {
            event.stored = false;
            self.live_stored -= 1;
            unstored += 1;
        }
        let mut gone = Uncharged::default();
        for event in self.in_flight_mut().filter(|event| is_missing(event)) {
            (event.stored, event.from_disk) = (false, false);
            gone.add(event);
            unstored += 1;
        }
        self.uncharged.events -= gone.events;
        self.uncharged.bytes -= gone.bytes;
        self.stored -= unstored as u64;
        unstored as u64
    }

    /// The events that are in memory only: those that wait for the disk, and where all are wanted, the newest of the live
    /// ones and those in flight.
    pub fn unstored(&self, wants_all: bool) -> impl Iterator<Item = &QueuedEvent> {
        let in_flight = self.in_flight.iter().flat_map(|batch| &batch.events).filter(move |_| wants_all);
        let live = self.live.iter().rev().filter(move |_| wants_all);
        self.outbox.iter().chain(live).chain(in_flight).filter(|event| !event.stored)
    }

    fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut QueuedEvent> {
        self.in_flight.iter_mut().flat_map(|batch| &mut batch.events)
    }
}

#[cfg(test)]
impl Memory {
    /// Counts everything anew.
    pub fn assert_exact(&self) {
        let lanes = [&self.outbox, &self.live, &self.backlog];
        let in_flight = self.in_flight.iter().flat_map(|batch| &batch.events);
        let all: Vec<_> = lanes.into_iter().flatten().chain(in_flight).collect();
        assert_eq!(self.events as usize, all.len());
        assert_eq!(self.bytes, all.iter().map(|event| event.bytes()).sum::<usize>());
        let mut uncharged = Uncharged::default();
        let in_flight = self.in_flight.iter().flat_map(|batch| &batch.events);
        in_flight.filter(|event| event.stored).chain(&self.backlog).for_each(|event| uncharged.add(event));
        assert_eq!(self.uncharged, uncharged);
        assert_eq!(self.stored as usize, all.iter().filter(|event| event.stored).count());
        assert_eq!(self.live_stored, self.live.iter().filter(|event| event.stored).count());
        assert_eq!(self.live_bytes, self.live.iter().map(|event| event.json.len()).sum::<usize>());
        assert!(lanes.into_iter().skip(1).all(|lane| lane.iter().is_sorted_by_key(|event| event.seq)));
    }

    pub fn all(&self) -> impl Iterator<Item = &QueuedEvent> {
        let in_flight = self.in_flight.iter().flat_map(|batch| &batch.events);
        [&self.outbox, &self.live, &self.backlog].into_iter().flatten().chain(in_flight)
    }

    pub fn backlog_seqs(&self) -> Vec<u64> {
        self.backlog.iter().map(|event| event.seq).collect()
    }
}
