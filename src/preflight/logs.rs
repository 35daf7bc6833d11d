//! Whether somebody receives the log lines.

use tracing::subscriber::NoSubscriber;

use super::check::Finding;
use crate::rt::target;

/// Which log lines a subscriber receives.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    has_subscriber: bool,
    shows_warnings: bool,
    shows_debug: bool,
}

impl Logs {
    /// Asks on the caller's thread, because it may have a subscriber of its own.
    pub fn observe() -> Self {
        Self {
            has_subscriber: tracing::dispatcher::get_default(|subscriber| !subscriber.is::<NoSubscriber>()),
            shows_warnings: tracing::enabled!(target: target::CLIENT, tracing::Level::WARN),
            shows_debug: tracing::enabled!(target: target::REQUESTS, tracing::Level::DEBUG),
        }
    }
}

pub fn judge(logs: Logs, is_release: bool) -> Finding {
    match logs {
        Logs { has_subscriber: false, .. } => Finding::warn(
            "nobody takes log lines: no tracing subscriber is installed",
            "install one before the client is built, tracing_subscriber::fmt().json() for instance",
        ),
        Logs { shows_warnings: false, .. } => Finding::warn(
            "the subscriber drops the warnings of posthog_health",
            "let posthog_health=info through its filter: it has a line an episode",
        ),
        Logs { shows_debug: true, .. } if is_release => Finding::warn(
            "debug lines are on in a release build: one for each attempt",
            "set the filter to posthog_health=info",
        ),
        _ => Finding::pass("a subscriber takes its warnings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Pass, Warn};

    #[test]
    fn log_lines_that_nobody_takes() {
        let good = Logs { has_subscriber: true, shows_warnings: true, shows_debug: false };
        assert_eq!(judge(good, true).status, Pass);
        assert_eq!(judge(Logs { has_subscriber: false, ..good }, true).status, Warn);
        assert_eq!(judge(Logs { shows_warnings: false, ..good }, true).status, Warn);
        assert_eq!(judge(Logs { shows_debug: true, ..good }, true).status, Warn);
        assert_eq!(judge(Logs { shows_debug: true, ..good }, false).status, Pass);
    }
}
