//! The SDK beside our delivery: it makes its events, and we carry them.
//!
//! A `before_send` hook, the last that an event meets in the SDK, hands it to our queue ([`bridge`]) and leaves the
//! SDK nothing to send. So its worker thread waits for nothing: not for PostHog, and not for the user's hooks, which
//! run in our encoder. That is what lets `flush` and `shutdown` bound it ([`held`]).
//!
//! Nothing of it runs before somebody asks for it: whoever only captures pays no thread.

mod bridge;
#[cfg_attr(not(feature = "error-tracking"), path = "no_error_tracking.rs")]
mod error_tracking;
mod held;
mod options;

use std::sync::Arc;

use posthog_rs::{Client, ClientOptions};
use tokio::time::Instant;

use crate::ConfigError;
use crate::rt::within;
#[cfg(feature = "error-tracking")]
pub(crate) use error_tracking::{ErrorTracking, capture_exception};
use held::Held;
pub(crate) use options::{LocalEvaluation, Road, SdkSettings};

/// The SDK's clients.
pub(crate) struct Sdk {
    /// Without local evaluation, so it starts without waiting: makes the exceptions.
    plain: Arc<Held>,
    /// What the user gets. The same one, unless there is local evaluation.
    full: Arc<Held>,
}

impl Sdk {
    pub(crate) fn new(settings: &SdkSettings, road: &Road<'_>) -> Result<Self, ConfigError> {
        let plain = Arc::new(Held::new(settings.plain(road)?));
        let full = match settings.with_local_evaluation(road)? {
            Some(options) => Arc::new(Held::waiting(options)),
            None => Arc::clone(&plain),
        };
        Ok(Self { plain, full })
    }

    /// The client, started if need be. `None` after the end.
    pub(crate) async fn client(&self) -> Option<Arc<Client>> {
        self.full.client().await
    }

    /// The client that starts without waiting.
    #[cfg(feature = "error-tracking")]
    pub(crate) fn plain(&self) -> Option<Arc<Client>> {
        self.plain.now()
    }

    /// Those of a client that sends nothing itself either. `None` after the end.
    pub(crate) fn options(&self) -> Option<ClientOptions> {
        self.plain.options()
    }

    /// Waits until what the SDK has got so far is in our queue, up to the deadline (`None`: as long as it
    /// takes). Tells whether it is.
    pub(crate) async fn drain(&self, deadline: Option<Instant>) -> bool {
        within(deadline, async {
            self.plain.drain().await;
            self.full.drain().await;
        })
        .await
    }

    /// Ends it, in the background, for good.
    pub(crate) fn end(&self) {
        self.plain.end();
        self.full.end();
    }

    /// Waits for the end, up to the deadline. Then a thread that hangs is left behind.
    pub(crate) async fn ended(&self, deadline: Option<Instant>) {
        within(deadline, async {
            self.plain.ended().await;
            self.full.ended().await;
        })
        .await;
    }
}
