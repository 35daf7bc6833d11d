use std::sync::Arc;

use posthog_rs::{Client, ClientOptions};

use super::PostHog;
use crate::rt::foreign;

impl PostHog {
    /// Returns the SDK's client, for everything that this crate has no method for, such as MCP analytics. It sends no event
    /// itself: each event that it makes passes our hooks, queue, breaker and ledger. `None` when the client is disabled or
    /// shut down.
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example(posthog: &PostHog) -> Result<(), posthog_health::posthog_rs::Error> {
    /// if let Some(sdk) = posthog.sdk().await {
    ///     let flags = sdk.evaluate_flags("user-123", Default::default()).await?;
    ///     if flags.is_enabled("new-checkout") { /* its $feature_flag_called enters our queue */ }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// The first call starts it, and with it a thread of its own. With
    /// [local evaluation](crate::PostHogBuilder::local_evaluation) that call also waits for the first flag definitions, up
    /// to the [request timeout](crate::PostHogBuilder::request_timeout), so make it when the service starts.
    ///
    /// Host, token, `is_server`, `geoip` and request timeout are the builder's; the SDK rounds up to whole seconds. Its
    /// `/flags` requests are its own, with a timeout of 3 s and one retry. [`flags`](Self::flags) protects you from an
    /// outage.
    ///
    /// # Differences from the SDK alone
    ///
    /// - **`capture_immediate` and `capture_batch_immediate`** return `Ok` when the event is in our queue, with a summary
    ///   of zero events, because nothing was sent yet. To know that an event will arrive, use
    #[cfg_attr(feature = "spool", doc = "[`capture_durable`](Self::capture_durable),")]
    #[cfg_attr(not(feature = "spool"), doc = "`capture_durable` (with the feature `spool`),")]
    ///   or [`flush`](Self::flush).
    /// - **`capture_batch` with `historical_migration`** sends to the ordinary topic, because the mark belongs to a request
    ///   and ours carry events of all kinds. To import old events, use a client of the SDK's own.
    /// - **Minimised `$feature_flag_called` events**, where a project has them, arrive with all their properties, because
    ///   the SDK removes these after the hook that hands us the event.
    /// - **Events keep the SDK's enrichment**: `$lib` is `posthog-rs`, with its version. Only missing members are added.
    /// - **The SDK's own queue** holds a million events, and they leave it in about 10 µs each, so it is
    ///   [ours](crate::PostHogBuilder::queue_events) that overflows and counts. The events in it take memory that no setting
    ///   bounds. If a [`before_send`](crate::PostHogBuilder::before_send) hook blocks the SDK's thread until it is full, the
    ///   SDK drops events with a line in its log, and our ledger does not count them. [`capture`](Self::capture) bypasses
    ///   that queue.
    /// - **A [rotated token](crate::CredentialSource)** applies to the SDK's events too, since all are sent with the one in
    ///   use. The SDK's own `/flags` requests keep the token, and its fetches of definitions the secret key, from when the
    ///   client was built.
    /// - **`shutdown`** of the SDK is called by us. Events captured through the SDK afterwards are dropped without a trace.
    ///   Do not keep the `Arc` beyond [`PostHog::shutdown`](Self::shutdown), because it keeps the SDK's flag poller and
    ///   connections alive.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime, with local evaluation. The poller of flag definitions runs on the runtime of the
    /// first call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the start to the next caller.
    pub async fn sdk(&self) -> Option<Arc<Client>> {
        self.running()?.sdk.client().await
    }

    /// Returns options for another client of the SDK whose events enter our queue, as those of [`sdk`](Self::sdk) do. It is
    /// for code that insists on a client of its own, such as the SDK's global one. It has no local evaluation. `None` when
    /// the client is disabled or shut down.
    ///
    /// The SDK's panic hook belongs to its global client. With the feature `error-tracking`, and `capture_panics` in
    /// `PostHogBuilder::error_tracking`, this captures panics:
    ///
    /// ```no_run
    /// # use posthog_health::{PostHog, posthog_rs};
    /// # async fn example(posthog: &PostHog) -> Result<(), posthog_rs::Error> {
    /// if let Some(options) = posthog.sdk_options() {
    ///     posthog_rs::init_global(options).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// Panics that this crate catches, such as those of `before_send` hooks, are not captured. This call looks for the SDK's
    /// hook, and a thread looks again for half a minute, because the SDK installs it after the call.
    ///
    /// A panic may end the process, so its event is sent at once. The panicking thread waits, at most 2 s: with a spool that
    /// works until the event is on disk, otherwise until it is delivered. It does not wait while the circuit breaker is open,
    /// nor where the panicking thread is the only one that drives the client, as on a current-thread runtime. There, and
    /// after the 2 s, the event stays in the queue. It is delivered if the process goes on, and lost if it ends.
    ///
    /// The global client lives as long as the process, and neither `flush` nor `shutdown` here knows of it, so call
    /// `posthog_rs::shutdown` before ours.
    pub fn sdk_options(&self) -> Option<ClientOptions> {
        let options = self.running()?.sdk.options()?;
        foreign::expect_panic_hook();
        Some(options)
    }
}
