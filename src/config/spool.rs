use super::PostHogBuilder;
use crate::delivery::SpoolConfig;

impl PostHogBuilder {
    /// Keeps undelivered events on disk, so that they survive outages longer than memory, restarts and
    /// crashes. Default none: what is on disk is for somebody to look after.
    ///
    /// ```no_run
    /// # use posthog_health::{PostHog, SpoolConfig};
    /// # async fn example() -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::from_env().spool(SpoolConfig::at("/var/lib/shop/posthog")).build()?;
    /// # Ok(()) }
    /// ```
    pub fn spool(mut self, spool: SpoolConfig) -> Self {
        self.settings.spool = Some(spool);
        self
    }
}
