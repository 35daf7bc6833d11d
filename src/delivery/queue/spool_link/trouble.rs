use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Whether memory had better be on disk, and whether a shutdown can wait for anything.
///
/// Memory goes to disk while delivery pauses, and when an event is under way or waits for two seconds after it was due:
/// that covers a `Retry-After`, a connection that hangs, and whatever else nobody has thought of. It does not cover a
/// PostHog that takes a second to answer. It goes on for half a minute, because troubles come back.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Up to which event all were due, and since when at the latest.
    due: VecDeque<(u64, Instant)>,
    last_delivery: Option<Instant>,
    /// As of the last update.
    is_troubled: bool,
    spills_until: Option<Instant>,
    spills: bool,
    stands_still: bool,
    changes_at: Option<Instant>,
}

/// What the queue knows at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub now: Instant,
    /// Delivery pauses, or its breaker is open.
    pub is_paused: bool,
    /// All events before this place are due.
    pub due_to: u64,
    /// None before this place is in memory still.
    pub waits_from: u64,
    /// None before this place is in memory only.
    pub unstored_from: u64,
}

/// How long after an event was due it may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long memory goes to disk after the last trouble.
const CALM: Duration = Duration::from_secs(30);
/// Events that become due within this time count as one.
const RESOLUTION: Duration = Duration::from_millis(250);
const MARKS: usize = 16;

impl Trouble {
    /// Whether memory begins or ceases to go to disk.
    pub fn update(&mut self, sample: Sample) -> bool {
        let Sample { now, is_paused, unstored_from, .. } = sample;
        self.mark(sample);
        let late = self.due.partition_point(|(_, since)| *since + PATIENCE <= now);
        let moves_until = self.last_delivery.map(|at| at + PATIENCE).filter(|until| *until > now);
        self.stands_still = is_paused || (late > 0 && moves_until.is_none());

        // An event that waits on disk is safe. One that nobody accepts may wait for minutes, while others are delivered.
        let is_troubled = is_paused || self.due.iter().take(late).any(|(to, _)| *to > unstored_from);
        if is_troubled || self.is_troubled {
            self.spills_until = now.checked_add(CALM);
        }
        self.is_troubled = is_troubled;
        self.spills_until = self.spills_until.filter(|until| *until > now);
        let next_late = self.due.get(late).map(|(_, since)| *since + PATIENCE);
        let without_trouble = next_late.into_iter().chain(self.spills_until).min().filter(|_| !is_troubled);
        let stops_at = moves_until.filter(|_| late > 0 && !is_paused);
        self.changes_at = without_trouble.into_iter().chain(stops_at).min();
        let spills = self.spills_until.is_some();
        std::mem::replace(&mut self.spills, spills) != spills
    }

    /// PostHog took events.
    pub fn delivered(&mut self, now: Instant) {
        self.last_delivery = Some(now);
    }

    pub fn spills(&self) -> bool {
        self.spills
    }

    /// Whether nothing can be delivered now.
    pub fn stands_still(&self) -> bool {
        self.stands_still
    }

    /// When the next update is due, whatever happens until then.
    pub fn changes_at(&self) -> Option<Instant> {
        self.changes_at
    }

    fn mark(&mut self, Sample { now, due_to, waits_from, .. }: Sample) {
        while self.due.front().is_some_and(|(to, _)| *to <= waits_from) {
            self.due.pop_front();
        }
        if due_to <= waits_from || self.due.back().is_some_and(|(to, _)| *to >= due_to) {
            return;
        }
        let is_full = self.due.len() >= MARKS;
        match self.due.back_mut() {
            Some((to, since)) if is_full || now.saturating_duration_since(*since) < RESOLUTION => {
                *to = due_to
            }
            _ => self.due.push_back((due_to, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn sample(now: Instant, due_to: u64, waits_from: u64) -> Sample {
        Sample { now, is_paused: false, due_to, waits_from, unstored_from: waits_from }
    }

    #[test]
    fn a_pause_spills_at_once_and_for_half_a_minute_after_its_end() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let paused = |now, is_paused| Sample { is_paused, ..sample(now, 0, 0) };
        assert!(!trouble.update(paused(start, false)));
        assert!(trouble.update(paused(start, true)));
        assert!(trouble.spills() && trouble.stands_still());
        // An hour later.
        let end = after(start, 3_600_000);
        assert!(!trouble.update(paused(end, false)));
        assert!(trouble.spills() && !trouble.stands_still());
        assert_eq!(trouble.changes_at(), Some(end + CALM));
        assert!(!trouble.update(paused(end + CALM - RESOLUTION, false)));
        assert!(trouble.update(paused(end + CALM, false)));
        assert!(!trouble.spills());
        assert_eq!(trouble.changes_at(), None);
    }

    #[test]
    fn an_event_that_was_due_two_seconds_ago_spills() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        trouble.update(sample(start, 10, 5));
        assert_eq!(trouble.changes_at(), Some(start + PATIENCE));
        // Others were due later, and wait too.
        assert!(!trouble.update(sample(after(start, 1_500), 20, 5)));
        assert!(trouble.update(sample(start + PATIENCE, 20, 5)));
        assert!(trouble.spills() && trouble.stands_still());
        assert_eq!(trouble.changes_at(), None);
    }

    #[test]
    fn a_posthog_that_takes_a_second_to_answer_spills_nothing() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        for n in 0..100 {
            let sent = after(start, n * 1_200);
            trouble.update(sample(sent, 100 * (n + 1), 100 * n));
            trouble.update(sample(after(sent, 1_199), 100 * (n + 1), 100 * n));
            trouble.delivered(after(sent, 1_200));
            assert!(!trouble.update(sample(after(sent, 1_200), 100 * (n + 1), 100 * (n + 1))));
            assert!(!trouble.spills() && trouble.changes_at().is_none());
        }
    }

    /// A queue that is longer than two seconds: the disk is safer, and a shutdown still delivers.
    #[test]
    fn what_moves_does_not_stand_still_though_the_oldest_waits() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        trouble.update(sample(start, 1_000, 0));
        trouble.delivered(after(start, 1_500));
        trouble.update(sample(after(start, 2_000), 1_000, 100));
        assert!(trouble.spills() && !trouble.stands_still());
        assert_eq!(trouble.changes_at(), Some(after(start, 3_500)));
        trouble.update(sample(after(start, 3_500), 1_000, 100));
        assert!(trouble.stands_still());
    }

    #[test]
    fn an_event_that_waits_on_disk_spills_no_others() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        trouble.update(sample(start, 2, 1));
        assert!(trouble.update(sample(start + PATIENCE, 2, 1)));
        let stored = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            // The first event is on disk, and others come and go.
            Sample { unstored_from: 100 * seconds, ..sample(now, 100 * seconds, 1) }
        };
        for seconds in 3..=40 {
            trouble.update(stored(seconds));
        }
        assert!(!trouble.spills());
    }

    #[test]
    fn few_marks_are_kept() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        for n in 0..10_000 {
            trouble.update(sample(after(start, n), n + 1, 0));
        }
        assert!(trouble.due.len() <= MARKS);
        trouble.update(sample(after(start, 10_000), 10_000, 10_000));
        assert!(trouble.due.is_empty());
    }
}
