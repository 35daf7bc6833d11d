use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use tower::Layer;
use tower::retry::{Policy, Retry};

use super::budget::SharedBudget;
use super::{RetryConfig, full_jitter};
use crate::ConfigError;
use crate::layers::{Classify, Verdict};
use crate::rt::target;

/// A request that can be sent again. `None` when it cannot (a streaming body): then it is tried once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent again",
    note = "implement `Replay` for it: `self.clone()` will do if it is `Clone`; `reqwest::Request` has it"
)]
pub trait Replay: Sized {
    /// The same request once more.
    fn replay(&self) -> Option<Self>;
}

impl Replay for reqwest::Request {
    fn replay(&self) -> Option<Self> {
        self.try_clone()
    }
}

/// Applies [`tower::retry::Retry`] with a [`RetryPolicy`]; see the [module](super).
#[derive(Clone, Debug)]
pub struct RetryLayer<C> {
    policy: RetryPolicy<C>,
}

impl<C> RetryLayer<C> {
    /// A new, full budget.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero or absurd.
    pub fn new(config: RetryConfig, classifier: C) -> Result<Self, ConfigError> {
        config.validate()?;
        let budget = SharedBudget::new(config.share);
        let shared = Arc::new(Shared { config, budget, retries: Retries::default() });
        Ok(Self { policy: RetryPolicy { shared, classifier, attempts_made: 0 } })
    }

    /// A handle on the count of retries.
    pub fn handle(&self) -> Retries {
        self.policy.shared.retries.clone()
    }
}

impl<S, C: Clone> Layer<S> for RetryLayer<C> {
    type Service = Retry<RetryPolicy<C>, S>;

    fn layer(&self, service: S) -> Self::Service {
        Retry::new(self.policy.clone(), service)
    }
}

/// How often was tried again, by all services that a [`RetryLayer`] and its clones produce.
#[derive(Clone, Debug, Default)]
pub struct Retries(Arc<AtomicU64>);

impl Retries {
    /// Attempts after the first of each call.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When to try again and how long to wait before.
#[derive(Clone, Debug)]
pub struct RetryPolicy<C> {
    shared: Arc<Shared>,
    classifier: C,
    attempts_made: u32,
}

/// In one place, since each call clones the policy.
#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    budget: SharedBudget,
    retries: Retries,
}

impl<C, Req, Res, Err> Policy<Req, Res, Err> for RetryPolicy<C>
where
    C: Classify<Res, Err>,
    Req: Replay,
{
    type Future = Sleep;

    #[inline]
    fn retry(&mut self, _request: &mut Req, result: &mut Result<Res, Err>) -> Option<Sleep> {
        let hint = match self.classifier.classify(result.as_ref()) {
            Verdict::Throttled { retry_after } | Verdict::Failed { retry_after } => retry_after,
            Verdict::Success => {
                self.shared.budget.deposit();
                return None;
            }
            Verdict::Refused | Verdict::NotAttempted => return None,
        };
        self.attempts_made += 1;
        if self.attempts_made >= self.shared.config.attempts {
            return None;
        }
        if hint.is_none() && !self.shared.budget.withdraw() {
            tracing::debug!(target: target::LAYERS, "no retry: the budget is spent");
            return None;
        }
        let wait = self.wait(hint);
        self.shared.retries.0.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: target::LAYERS, attempt = self.attempts_made + 1, ?wait, "retrying");
        Some(sleep(wait))
    }

    #[inline]
    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        request.replay()
    }
}

impl<C> RetryPolicy<C> {
    /// The backoff, and never less than the hint. Clients that were given the same hint are spread by a
    /// first backoff on top of it.
    fn wait(&self, hint: Option<Duration>) -> Duration {
        let RetryConfig { base, cap, .. } = self.shared.config;
        let backoff = full_jitter(base, cap, self.attempts_made - 1, fastrand::f64());
        match hint {
            Some(hint) => backoff.max(hint.saturating_add(full_jitter(base, cap, 0, fastrand::f64()))),
            None => backoff,
        }
    }
}
