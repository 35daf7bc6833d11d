use std::sync::Arc;

use posthog_rs::{Client, ClientOptions};

use super::PostHog;

impl PostHog {
    /// The SDK's client, for what this crate has no method for: MCP analytics, whatever comes. It sends
    /// no event itself: all that it makes travels our road, through hooks, queue, breaker and ledger. `None` when the
    /// client is disabled or shut down.
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example(posthog: &PostHog) -> Result<(), posthog_health::posthog_rs::Error> {
    /// if let Some(sdk) = posthog.sdk().await {
    ///     let flags = sdk.evaluate_flags("user-123", Default::default()).await?;
    ///     if flags.is_enabled("new-checkout") { /* its $feature_flag_called comes to us */ }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// The first call starts it, and with it a thread of its own; without one there is none. With
    /// [local evaluation](crate::PostHogBuilder::local_evaluation) that call also waits for the first flag definitions,
    /// up to the [request timeout](crate::PostHogBuilder::request_timeout): make it when the service starts.
    ///
    /// Host, token, `is_server`, `geoip` and request timeout are those of the builder; the SDK takes whole seconds,
    /// rounded up. Its `/flags` requests are its own, with a timeout of 3 s and one retry;
    /// [`flags`](Self::flags) is the guarded way.
    ///
    /// # What is not as in the SDK alone
    ///
    /// - **`capture_immediate` and `capture_batch_immediate`** return `Ok` when the event is in our queue, with a summary
    ///   of zero events: nothing was sent yet. To know that an event will arrive, use
    #[cfg_attr(feature = "spool", doc = "[`capture_durable`](Self::capture_durable),")]
    #[cfg_attr(not(feature = "spool"), doc = "`capture_durable` (with the feature `spool`),")]
    ///   or [`flush`](Self::flush) and look at [`stats`](Self::stats).
    /// - **`capture_batch` with `historical_migration`** sends to the ordinary topic: the mark belongs to a request, and
    ///   ours carry events of all kinds. For an import of old events use a client of the SDK's own.
    /// - **Minimised `$feature_flag_called` events**, where a project has them, come with all their properties: the SDK
    ///   takes these away after the hook that hands us the event.
    /// - **Events keep the SDK's enrichment**: `$lib` is `posthog-rs`, with its version. Only what they lack is added.
    /// - **The SDK's own queue** takes as many events as [ours](crate::PostHogBuilder::queue_events). They leave it in
    ///   about 10 µs each; what floods it faster is dropped there, with a line in the SDK's log, and our ledger never
    ///   hears of it. [`capture`](Self::capture) does not pass through it.
    /// - **A [rotated token](crate::CredentialSource)** carries the SDK's events, as all are sent with the one in use. Its own
    ///   `/flags` requests keep the token, and its fetches of definitions the secret key, from when the client was built.
    /// - **`shutdown`** of the SDK is for us to call: what is captured through it afterwards it drops without a word.
    ///   Do not keep the `Arc` beyond [`PostHog::shutdown`](Self::shutdown): what holds it holds its flag poller and
    ///   its connections.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, with local evaluation. The poller of flag definitions runs on the runtime of the first
    /// call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the start to the next caller.
    pub async fn sdk(&self) -> Option<Arc<Client>> {
        self.running()?.sdk.client().await
    }

    /// Options for a client of the SDK whose events come to us too, as those of [`sdk`](Self::sdk) do: for what insists on
    /// a client of its own, which is the SDK's global one. Without local evaluation. `None` when the client is disabled or
    /// shut down.
    ///
    /// The SDK's panic hook belongs to its global client. With the feature `error-tracking`, and `capture_panics` in
    /// `PostHogBuilder::error_tracking`, panics come to us by:
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
    /// The panicking thread waits until its event is in our queue, 2 s at most. A panic that ends the process ends the
    /// queue too: its event survives in a spool with write-ahead, within milliseconds, or if whoever catches the end of
    /// the process calls [`shutdown`](Self::shutdown). The global client lives as long as the process, and neither
    /// `flush` nor `shutdown` here knows of it: call `posthog_rs::shutdown` before ours.
    pub fn sdk_options(&self) -> Option<ClientOptions> {
        self.running()?.sdk.options()
    }
}
