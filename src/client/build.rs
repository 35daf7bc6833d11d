use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use super::start::Start;
use super::{Inner, PostHog};
use crate::ConfigError;
use crate::config::{Configuration, Enrichment, PostHogBuilder};
use crate::credentials::Opened;
use crate::delivery::{DropReason, Encoder, Producer, Queue};
use crate::rt::{clock, foreign};

impl PostHogBuilder {
    /// Checks the configuration and starts the client: one background task on the current runtime. It sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value cannot work, or outside a tokio runtime. It names the value, what is wrong with it, and
    /// what to do:
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// let error = PostHog::builder("phx_personal").build().unwrap_err();
    /// assert!(error.to_string().starts_with("project_token is a personal API key (phx_…): use the project token (phc_…)"));
    /// ```
    pub fn build(self) -> Result<PostHog, ConfigError> {
        let configuration = self.into_configuration();
        let valid = configuration.validate();
        let Configuration { disabled, environment, token, host, local_evaluation, settings, enrichment } =
            configuration;
        let target = if disabled {
            None
        } else {
            environment?;
            Some((host?, Opened::open(token?)?))
        };
        valid?;
        let closed = disabled.then_some(DropReason::Disabled);
        let queue = Arc::new(Queue::new(settings.limits.clone(), first_seq(), closed));
        let Enrichment { hooks, is_server, geoip } = enrichment;
        if !hooks.is_empty() {
            foreign::expect_panic_hook();
        }
        let encoder = Encoder::new(hooks, is_server, geoip, settings.limits.bytes);
        let producer = Arc::new(Producer::new(Arc::clone(&queue), encoder));
        let start = Start { queue: &queue, producer: &producer, settings: &settings, is_server, geoip };
        let running = match target {
            Some((host, token)) => Some(start.running(host, token, local_evaluation)?),
            None => None,
        };
        let (settings, reported) = (Arc::new(settings), Mutex::default());
        Ok(PostHog { inner: Arc::new(Inner { queue, producer, settings, reported, running }) })
    }
}

/// The place of the process's first event in the order of capture. A later process starts higher, so that the events of several processes have
/// an order, and one more event between two of them has a place.
fn first_seq() -> u64 {
    let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
}
