use std::time::{Duration, Instant};

/// Decides whether a recurring condition is worth a log line. Recurrences within five minutes count as one episode, so
/// that a service that fails now and then causes one line and not a thousand.
#[derive(Debug, Default)]
pub struct Episode {
    last: Option<Instant>,
}

const QUIET: Duration = Duration::from_secs(300);

impl Episode {
    /// Records that the condition holds now. Returns true if that begins an episode.
    pub fn begins(&mut self, now: Instant) -> bool {
        let last = self.last.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
    }
}
