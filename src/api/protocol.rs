//! Which capture protocol a batch takes.

use std::sync::Mutex;
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::http::is_cloud;
use crate::rt::{foreign, lock, named, target};

named! {
    /// How events are sent to PostHog.
    ///
    /// PostHog has two capture protocols. V0 (`POST /batch/`) answers for a batch as a whole, and every PostHog speaks it. V1
    /// (`POST /i/v1/analytics/events`) answers for each event, so one bad event in a batch costs one request, and a partial
    /// failure sends again only what failed. PostHog Cloud speaks both. AI events (`$ai_…`) take V0 in every mode.
    #[derive(Default, Hash)]
    #[non_exhaustive]
    pub enum CaptureProtocol {
        /// V0 only. The default, because it is that of every official SDK that is released.
        // The one place that makes `Auto` the default when the official SDK's 1.x is out.
        #[default]
        V0 = "v0",
        /// V1 where it works, and V0 elsewhere. A batch that meets a host without V1, or a proxy that spoils it, is sent by V0
        /// at once, and V1 is tried again after an hour. Recommended: its verdicts tell more.
        Auto = "auto",
        /// V1 only. A host without it counts as a wrong host, and the events are kept.
        V1 = "v1",
    }
}

named! {
    /// Why a client speaks its present capture protocol.
    #[non_exhaustive]
    pub enum ProtocolReason {
        /// It was configured.
        Configured = "configured",
        /// The host is PostHog Cloud, which speaks V1.
        CloudHost = "cloud_host",
        /// The host is not PostHog Cloud, and V1 was not seen to work there yet.
        OtherHost = "other_host",
        /// V1 was tried and works.
        Works = "works",
        /// The host answers V1 as one that does not know it: 404, 405, 501, a page of HTML, or a text that is not PostHog's.
        Unsupported = "unsupported",
        /// A proxy on the way removes `Authorization` or `PostHog-*` headers.
        HeadersStripped = "headers_stripped",
        /// V1 dropped every event of twenty batches in a row.
        DropsAll = "drops_all",
    }
}

/// The protocol of the next batch, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// V0 or V1.
    pub protocol: CaptureProtocol,
    pub reason: ProtocolReason,
}

/// How one batch is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    V0,
    /// `or_v0` where V1 turns out not to work.
    V1 {
        or_v0: bool,
    },
    /// V1, to find out whether it works. Whatever else comes of it, V0 follows.
    Trial,
}

/// A trial must not cost a batch its time.
pub const TRIAL: Duration = Duration::from_secs(2);
/// The most events of a batch that tries V1.
pub const TRIAL_EVENTS: usize = 10;
const BETWEEN_TRIALS: Duration = Duration::from_secs(3600);
/// So many batches in a row that are dropped whole are no verdict on events.
const MOST_WHOLE_DROPS: u32 = 20;

/// Chooses between V0 and V1 by what was seen of both.
#[derive(Debug)]
pub struct Protocols {
    configured: CaptureProtocol,
    choice: Mutex<Choice>,
}

#[derive(Debug)]
struct Choice {
    current: Current,
    /// When V1 may be tried while V0 is spoken.
    next_trial: Instant,
    /// Batches in a row of which V1 dropped every event.
    whole_drops: u32,
}

impl Protocols {
    pub fn new(configured: CaptureProtocol, host: &Url, now: Instant) -> Self {
        use CaptureProtocol::{Auto, V0, V1};
        let (protocol, reason) = match configured {
            V0 | V1 => (configured, ProtocolReason::Configured),
            Auto if is_cloud(host) => (V1, ProtocolReason::CloudHost),
            Auto => (V0, ProtocolReason::OtherHost),
        };
        let choice = Choice { current: Current { protocol, reason }, next_trial: now, whole_drops: 0 };
        Self { configured, choice: Mutex::new(choice) }
    }

    pub fn current(&self) -> Current {
        lock(&self.choice).current
    }

    /// Whether batches may take V1.
    pub fn may_speak_v1(&self) -> bool {
        self.configured != CaptureProtocol::V0
    }

    /// Whether the next batch is to try V1, if it has no more than [`TRIAL_EVENTS`].
    pub fn is_trial_due(&self, now: Instant) -> bool {
        lock(&self.choice).is_trial_due(self.configured, now)
    }

    /// Decides how to send a batch of so many events.
    pub fn turn(&self, events: usize, now: Instant) -> Turn {
        let mut choice = lock(&self.choice);
        if choice.current.protocol == CaptureProtocol::V1 {
            return Turn::V1 { or_v0: self.configured == CaptureProtocol::Auto };
        }
        if events > TRIAL_EVENTS || !choice.is_trial_due(self.configured, now) {
            return Turn::V0;
        }
        // Now and not at its end, so that one batch tries at a time and an attempt that is dropped tries no second time.
        choice.next_trial = now + BETWEEN_TRIALS;
        Turn::Trial
    }

    /// V1 answered. Whether to believe the verdicts.
    pub fn believes(&self, drops_all: bool) -> bool {
        let drops = &mut lock(&self.choice).whole_drops;
        *drops = if drops_all { drops.saturating_add(1) } else { 0 };
        *drops < MOST_WHOLE_DROPS
    }

    /// A trial found that V1 works.
    pub fn works(&self) {
        self.change(Current { protocol: CaptureProtocol::V1, reason: ProtocolReason::Works });
    }

    /// V0 took a batch that V1 did not, for this reason.
    pub fn fell_back(&self, reason: ProtocolReason, now: Instant) {
        lock(&self.choice).next_trial = now + BETWEEN_TRIALS;
        self.change(Current { protocol: CaptureProtocol::V0, reason });
    }

    fn change(&self, to: Current) {
        let before = std::mem::replace(&mut lock(&self.choice).current, to);
        // Outside the lock: a subscriber may ask for the health report, which shows the protocol.
        if before != to {
            let (protocol, reason) = (to.protocol.as_str(), to.reason.as_str());
            foreign::log(|| {
                tracing::info!(target: target::DELIVERY, protocol, reason, "the capture protocol changes");
            });
        }
    }
}

#[cfg(test)]
impl Protocols {
    /// One that speaks V0.
    pub fn v0() -> std::sync::Arc<Self> {
        let host = Url::parse("http://localhost").unwrap();
        std::sync::Arc::new(Self::new(CaptureProtocol::V0, &host, Instant::now()))
    }
}

impl Choice {
    fn is_trial_due(&self, configured: CaptureProtocol, now: Instant) -> bool {
        configured == CaptureProtocol::Auto
            && self.current.protocol == CaptureProtocol::V0
            && now >= self.next_trial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CaptureProtocol::{Auto, V0, V1};

    const HOUR: Duration = BETWEEN_TRIALS;

    fn protocols(configured: CaptureProtocol, host: &str) -> (Protocols, Instant) {
        let now = Instant::now();
        (Protocols::new(configured, &host.parse().unwrap(), now), now)
    }

    fn current(protocols: &Protocols) -> (CaptureProtocol, &'static str) {
        let Current { protocol, reason } = protocols.current();
        (protocol, reason.as_str())
    }

    #[test]
    fn auto_begins_with_v1_on_the_cloud_and_with_a_trial_elsewhere() {
        for (configured, host, turn, reason) in [
            (V0, "https://eu.i.posthog.com", Turn::V0, "configured"),
            (V1, "https://example.com", Turn::V1 { or_v0: false }, "configured"),
            (Auto, "https://us.i.posthog.com", Turn::V1 { or_v0: true }, "cloud_host"),
            (Auto, "https://posthog.com.example", Turn::Trial, "other_host"),
            (Auto, "https://notposthog.com", Turn::Trial, "other_host"),
        ] {
            let (protocols, now) = protocols(configured, host);
            assert_eq!(current(&protocols).1, reason, "{host}");
            assert_eq!(protocols.turn(TRIAL_EVENTS, now), turn, "{host}");
        }
    }

    #[test]
    fn v1_is_tried_with_a_small_batch_an_hour_and_taken_if_it_works() {
        let (protocols, now) = protocols(Auto, "https://example.com");
        assert!(protocols.is_trial_due(now));
        assert_eq!(protocols.turn(TRIAL_EVENTS + 1, now), Turn::V0, "too large");
        assert_eq!(protocols.turn(TRIAL_EVENTS, now), Turn::Trial);
        assert_eq!(protocols.turn(1, now), Turn::V0, "one batch at a time");
        protocols.fell_back(ProtocolReason::Unsupported, now);
        assert_eq!(current(&protocols), (V0, "unsupported"));
        assert_eq!(protocols.turn(1, now + HOUR - Duration::from_secs(1)), Turn::V0);
        assert_eq!(protocols.turn(1, now + HOUR), Turn::Trial);
        protocols.works();
        assert_eq!(current(&protocols), (V1, "works"));
        assert_eq!(protocols.turn(500, now), Turn::V1 { or_v0: true });
    }

    #[test]
    fn twenty_batches_in_a_row_that_are_dropped_whole_are_not_believed() {
        let (protocols, now) = protocols(Auto, "https://eu.i.posthog.com");
        assert!((0..19).all(|_| protocols.believes(true)));
        assert!(!protocols.believes(true) && !protocols.believes(true));
        protocols.fell_back(ProtocolReason::DropsAll, now);
        assert_eq!(current(&protocols), (V0, "drops_all"));
        assert_eq!(protocols.turn(1, now + HOUR), Turn::Trial);
        assert!(!protocols.believes(true), "nothing has changed");
        assert!(protocols.believes(false) && protocols.believes(true));
    }
}
