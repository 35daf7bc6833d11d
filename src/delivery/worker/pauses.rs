use std::time::Duration;

use tokio::time::Instant;

use crate::ErrorKind;
use crate::layers::backoff;
use crate::rt::Episode;

/// When delivery rests, and why.
#[derive(Debug)]
pub struct Pauses {
    until: Option<Instant>,
    /// The first and the longest pause after a batch whose attempts ended.
    setback: (Duration, Duration),
    /// In a row.
    setbacks: u32,
    /// The longest pause after a refusal.
    refusal: Duration,
    /// In a row.
    refusals: u32,
    /// The kind of the answer that stopped delivery.
    refused: Option<ErrorKind>,
    /// By what stops it.
    episodes: [Episode; ErrorKind::ALL.len()],
    /// That delivery pauses was told, and that it resumes is to be.
    is_told: bool,
}

impl Pauses {
    pub fn new(setback: (Duration, Duration), refusal: Duration) -> Self {
        Self {
            until: None,
            setback,
            setbacks: 0,
            refusal,
            refusals: 0,
            refused: None,
            episodes: Default::default(),
            is_told: false,
        }
    }

    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    pub fn refused(&self) -> Option<ErrorKind> {
        self.refused
    }

    /// Begins a pause that grows with each batch that was tried in vain. `random`, from 0 to 1, is the share of it that is taken.
    pub fn set_back(&mut self, now: Instant, random: f64) {
        let (base, cap) = self.setback;
        self.hold(now, backoff(base, cap, self.setbacks, random));
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Begins a pause after an answer that only a person can change. It is short at first, because the answer may be a stray one.
    /// `grows` unless the next attempt is another one. Tells whether that is news.
    pub fn refuse(&mut self, now: Instant, kind: ErrorKind, grows: bool) -> bool {
        let first = Duration::from_secs(1).min(self.refusal);
        let pause = first.saturating_mul(1 << self.refusals.min(31)).min(self.refusal);
        self.refusals = self.refusals.saturating_add(u32::from(grows));
        self.hold(now, pause);
        let begins = self.episodes[kind as usize].begins(now.into_std());
        let is_news = self.refused.replace(kind) != Some(kind) && begins;
        self.is_told |= is_news;
        is_news
    }

    /// Begins the longest pause, because nothing has changed.
    pub fn rest(&mut self, now: Instant) {
        self.hold(now, self.refusal);
    }

    /// Nothing is to be gained by waiting long any more.
    pub fn hurry(&mut self) {
        self.setback.1 = self.setback.0;
    }

    /// The pause is over.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// Ends every pause, because PostHog accepted events. Returns whether that is news.
    pub fn recover(&mut self) -> bool {
        self.until = None;
        (self.setbacks, self.refusals) = (0, 0);
        self.refused = None;
        std::mem::take(&mut self.is_told)
    }

    fn hold(&mut self, now: Instant, time: Duration) {
        self.until = self.until.max(now.checked_add(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pauses() -> Pauses {
        Pauses::new((SECOND, 30 * SECOND), 60 * SECOND)
    }

    #[test]
    fn refusals_pause_for_a_second_doubling_to_the_longest() {
        let (mut pauses, now) = (pauses(), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pauses.end();
            pauses.refuse(now, ErrorKind::Unauthorized, true);
            lengths.push((pauses.until().unwrap() - now).as_secs());
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        pauses.recover();
        pauses.refuse(now, ErrorKind::Unauthorized, true);
        assert_eq!(pauses.until(), Some(now + SECOND));
    }

    #[test]
    fn a_refusal_is_news_once_an_episode_and_its_end_if_it_was() {
        let (mut pauses, now) = (pauses(), Instant::now());
        assert!(pauses.refuse(now, ErrorKind::Unauthorized, true));
        assert!(!pauses.refuse(now, ErrorKind::Unauthorized, true));
        assert!(pauses.refuse(now, ErrorKind::WrongHost, true), "another kind is");
        assert!(pauses.recover());
        assert!(!pauses.recover());
        assert!(!pauses.refuse(now + 299 * SECOND, ErrorKind::WrongHost, true), "the same episode");
        assert!(!pauses.recover());
    }

    #[test]
    fn setbacks_grow_and_never_shorten_a_pause() {
        let (mut pauses, now) = (pauses(), Instant::now());
        // At least a tenth of a second, which is a retry's floor.
        let floor = SECOND / 10;
        pauses.set_back(now, 0.0);
        assert_eq!(pauses.until(), Some(now + floor));
        pauses.set_back(now, 1.0);
        assert_eq!(pauses.until(), Some(now + floor + 2 * SECOND));
        pauses.set_back(now, 0.0);
        assert_eq!(pauses.until(), Some(now + floor + 2 * SECOND));
        pauses.rest(now);
        assert_eq!(pauses.until(), Some(now + 60 * SECOND));
    }
}
