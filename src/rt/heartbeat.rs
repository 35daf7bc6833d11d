use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::millis;

/// Finds out whether a task is driven at all, without the task's help.
///
/// An idle task sleeps, so its silence alone means nothing. Whoever wants to know [asks](Self::is_silent) and wakes the
/// task, and the task answers by a [beat](Self::beat) as soon as it runs. A question that stays open means that nobody
/// drives the task: its runtime does not run, is blocked, or belongs to the parent of this process.
///
/// The time counts from the question and not from the last beat. So a process that was stopped for an hour, or a machine
/// that slept, is not taken for dead.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    /// When the open question was asked, in milliseconds since the start, plus one. 0 if there is none.
    asked: AtomicU64,
}

/// How long a question may stay open. A busy runtime answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

const ANSWERED: u64 = 0;

impl Heartbeat {
    pub fn new(now: Instant) -> Self {
        Self { started: now, asked: AtomicU64::new(ANSWERED) }
    }

    /// Answers. The task calls it whenever it runs.
    pub fn beat(&self) {
        self.asked.store(ANSWERED, Ordering::Relaxed);
    }

    /// Whether a question is open.
    #[cfg(feature = "error-tracking")]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != ANSWERED
    }

    /// Whether the task has not answered for 2 s. Asks and wakes it if no question is open.
    pub fn is_silent(&self, now: Instant, wake: impl FnOnce()) -> bool {
        let now = millis(now.saturating_duration_since(self.started)).saturating_add(1);
        match self.asked.compare_exchange(ANSWERED, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                wake();
                false
            }
            Err(asked) => now.saturating_sub(asked) >= millis(PATIENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_task_is_silent_if_it_leaves_a_question_open() {
        let start = Instant::now();
        let (heartbeat, mut woken) = (Heartbeat::new(start), 0);
        let mut is_silent = |at| heartbeat.is_silent(start + at, || woken += 1);
        assert!(!is_silent(MS(0)), "it was not asked before");
        assert!(!is_silent(PATIENCE - MS(1)));
        assert!(is_silent(PATIENCE) && is_silent(10 * PATIENCE));
        heartbeat.beat();
        assert!(!is_silent(10 * PATIENCE) && is_silent(11 * PATIENCE));
        assert_eq!(woken, 2, "once a question");
    }

    /// Neither did the process run.
    #[test]
    fn the_time_before_a_question_does_not_count() {
        let start = Instant::now();
        let heartbeat = Heartbeat::new(start);
        let hour = Duration::from_secs(3600);
        assert!(!heartbeat.is_silent(start + hour, || heartbeat.beat()));
        assert!(!heartbeat.is_silent(start + 2 * hour, || ()));
        assert!(!heartbeat.is_silent(start + 2 * hour + MS(1999), || ()));
    }
}
