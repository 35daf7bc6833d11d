//! The SDK's own clients: the SDK makes its events, and our delivery sends them.
//!
//! A `before_send` hook, the last step that an event takes in the SDK, hands the event to our queue ([`options`]) and
//! leaves the SDK nothing to send. So the SDK's worker thread never waits for PostHog. That is what lets `flush` and
//! `shutdown` bound it ([`managed`]).
//!
//! Nothing of the SDK runs until somebody asks for it, so a service that only captures pays for no thread.

#[cfg_attr(not(feature = "error-tracking"), path = "error_tracking/disabled.rs")]
mod error_tracking;
mod managed;
mod options;

use std::sync::Arc;

use posthog_rs::{Client, ClientOptions};
use tokio::time::Instant;

use crate::ConfigError;
use crate::rt::within;
pub use error_tracking::ErrorTracking;
#[cfg(feature = "error-tracking")]
pub use error_tracking::capture_exception;
use managed::ManagedClient;
pub use options::{LocalEvaluation, SdkParts};

/// The SDK's clients.
pub struct Sdk {
    /// Has no local evaluation, so it starts without waiting. It makes the exceptions.
    plain: Arc<ManagedClient>,
    /// The one that users get. The same client, unless there is local evaluation.
    full: Arc<ManagedClient>,
}

impl Sdk {
    pub fn new(parts: &SdkParts<'_>) -> Result<Self, ConfigError> {
        let plain = Arc::new(ManagedClient::new(parts.options(None)?));
        let full = match &parts.local_evaluation {
            Some(local) => Arc::new(ManagedClient::with_slow_start(parts.options(Some(local))?)),
            None => Arc::clone(&plain),
        };
        Ok(Self { plain, full })
    }

    /// Returns the client and starts it if necessary. `None` after the end.
    pub async fn client(&self) -> Option<Arc<Client>> {
        self.full.client().await
    }

    /// Returns the client that starts without waiting. `None` after the end.
    #[cfg(feature = "error-tracking")]
    pub fn plain(&self) -> Option<Arc<Client>> {
        self.plain.client_now()
    }

    /// Returns options for another client whose events come to our queue. `None` after the end.
    pub fn options(&self) -> Option<ClientOptions> {
        self.plain.options()
    }

    /// Waits until the events that the SDK has so far are in our queue, up to the deadline (`None`: as long as it
    /// takes). Returns whether they are.
    pub async fn drain(&self, deadline: Option<Instant>) -> bool {
        within(deadline, async {
            self.plain.drain().await;
            self.full.drain().await;
        })
        .await
    }

    /// Ends the clients, in the background, for good.
    pub fn end(&self) {
        self.plain.end();
        self.full.end();
    }

    /// Waits for the end, up to the deadline. After it, a thread that hangs is left behind.
    pub async fn ended(&self, deadline: Option<Instant>) {
        within(deadline, async {
            self.plain.ended().await;
            self.full.ended().await;
        })
        .await;
    }
}
