use std::time::{Duration, Instant};

/// Tells when something begins that may come and go: within five minutes it goes on, as an alert does. So a
/// PostHog that fails only now and then is one line and not a thousand.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    last: Option<Instant>,
}

const QUIET: Duration = Duration::from_secs(300);

impl Episode {
    /// It is there now. Tells whether that is news.
    pub(crate) fn begins(&mut self, now: Instant) -> bool {
        let last = self.last.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
    }
}
