use posthog_rs::Event;

use super::PostHogBuilder;

/// What is added to events, and who changes them.
impl PostHogBuilder {
    /// Marks events as sent by a server (`$is_server`), so that its operating system is not taken for the
    /// user's. Default yes, as in the SDK.
    pub fn is_server(mut self, is_server: bool) -> Self {
        self.enrichment.is_server = is_server;
        self
    }

    /// Lets PostHog work out a location from the sender's address. Default yes, as in the SDK; `false` sets
    /// `$geoip_disable`.
    pub fn geoip(mut self, geoip: bool) -> Self {
        self.enrichment.geoip = geoip;
        self
    }

    /// Changes an event or drops it (`None`) before it is encoded. Hooks run in order, off the caller's
    /// thread, once on every event, whatever its origin, on events as captured: the constant enrichment (`$lib`, `$os`,
    /// …) is added after them, where the event has no value of its own. Those of [the SDK](crate::PostHog::sdk) have the
    /// SDK's already. A [`TypedEvent`](crate::TypedEvent) comes as an event too, made for the hook. A hook that panics costs the event that it panicked on
    /// ([`HookPanicked`](crate::DropReason::HookPanicked)). Keep it short: all events wait for it.
    pub fn before_send(mut self, hook: impl FnMut(Event) -> Option<Event> + Send + 'static) -> Self {
        self.enrichment.hooks.push(Box::new(hook));
        self
    }
}
