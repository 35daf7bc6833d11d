use std::time::{Duration, Instant};

use crate::rt::Episode;

/// What the disk was asked for and has not answered yet.
///
/// The thread that asks cannot tell that it waits too long, so another one watches. It looks a few times a second while
/// there is something to watch, and sleeps otherwise; a disk that is asked a hundred times a second does not wake it as
/// often.
#[derive(Debug, Default)]
pub struct Round {
    since: Option<Instant>,
    looked_at: Option<Instant>,
    /// The disk was given up in this round.
    hangs: bool,
    /// The disk was asked since it was last looked at.
    is_news: bool,
    watcher_sleeps: bool,
    episode: Episode,
    is_logged: bool,
}

/// What the thread that watches the disk has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The disk hangs, as of now.
    GiveUp { is_news: bool },
    /// There is nothing to watch any more.
    End,
    /// Nothing changes unless somebody wakes it.
    Sleep,
    /// It looks again after so long.
    LookAfter(Duration),
}

/// What a disk may take for one answer. A rotating disk under load takes half a second.
pub const PATIENCE: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Round {
    /// Whether the watcher must be woken.
    pub fn begin(&mut self, now: Instant) -> bool {
        self.since = Some(now);
        self.looked_at = Some(now);
        self.is_news = true;
        std::mem::take(&mut self.watcher_sleeps)
    }

    /// Whether the disk was given up in this round.
    pub fn end(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.hangs)
    }

    /// Whether it was logged that the disk hangs, once.
    pub fn was_logged(&mut self) -> bool {
        std::mem::take(&mut self.is_logged)
    }

    pub fn hangs(&self) -> bool {
        self.hangs
    }

    pub fn watch(&mut self, now: Instant, patience: Duration) -> Watch {
        let is_news = std::mem::take(&mut self.is_news);
        let looked_at = self.looked_at.replace(now);
        match &mut self.since {
            Some(since) if !self.hangs => {
                // A process that was frozen for a while, and could not look, does not blame the disk.
                let unseen = looked_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
                *since += unseen.saturating_sub(2 * LOOK_EVERY);
                let left = patience.saturating_sub(now.saturating_duration_since(*since));
                if left.is_zero() {
                    self.hangs = true;
                    let is_news = self.episode.begins(now);
                    self.is_logged |= is_news;
                    return Watch::GiveUp { is_news };
                }
                Watch::LookAfter(left.min(LOOK_EVERY))
            }
            None if is_news => Watch::LookAfter(LOOK_EVERY),
            _ => {
                self.watcher_sleeps = true;
                Watch::Sleep
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(round: &mut Round, now: Instant) -> Watch {
        round.watch(now, PATIENCE)
    }

    #[test]
    fn a_disk_is_given_up_once_when_it_does_not_answer_in_time() {
        let (mut round, start) = (Round::default(), Instant::now());
        assert_eq!(watch(&mut round, start), Watch::Sleep);
        assert!(round.begin(start), "the watcher sleeps");
        for look in 0..8 {
            assert_eq!(watch(&mut round, start + look * LOOK_EVERY), Watch::LookAfter(LOOK_EVERY));
        }
        assert_eq!(watch(&mut round, start + PATIENCE), Watch::GiveUp { is_news: true });
        assert_eq!(watch(&mut round, start + 2 * PATIENCE), Watch::Sleep);
        assert!(round.end());
        assert!(!round.end(), "once");
    }

    #[test]
    fn a_process_that_was_frozen_does_not_give_the_disk_up() {
        let (mut round, start) = (Round::default(), Instant::now());
        round.begin(start);
        let thawed = start + 100 * PATIENCE;
        assert_eq!(watch(&mut round, thawed), Watch::LookAfter(LOOK_EVERY));
        let mut gives_up =
            |look| matches!(watch(&mut round, thawed + look * LOOK_EVERY), Watch::GiveUp { .. });
        assert_eq!((1..=8).find(|look| gives_up(*look)), Some(6));
    }

    #[test]
    fn a_disk_that_answers_wakes_nobody_again_and_again() {
        let (mut round, start) = (Round::default(), Instant::now());
        watch(&mut round, start);
        let woken = (0..100).filter(|_| {
            let woken = round.begin(start);
            watch(&mut round, start);
            assert!(!round.end());
            woken
        });
        assert_eq!(woken.count(), 1);
        assert_eq!(watch(&mut round, start), Watch::Sleep);
    }
}
