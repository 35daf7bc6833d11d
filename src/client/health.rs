use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::PostHog;
use super::running::Running;
use crate::health::{BreakerHealth, Evidence, HealthReport, Life, Probe, report};
use crate::layers::{CircuitBreakerHandle, CircuitState};
use crate::monitor::{Alert, AlertTransitions, RolloutReason, RolloutVerdict};

impl PostHog {
    /// Asks PostHog whether it is there and takes the token, and reports that together with all that is known
    /// here. Made for readiness probes: never fails, is answered from a cache for 10 s, sends one request
    /// however many ask at once, takes 2 s at most, is not billed, and works while the circuit breaker is
    /// open.
    ///
    /// A degraded PostHog is no reason to take a service out of rotation: answer 200 in both cases, and 503
    /// only where a deployment should wait. [`HealthRoute`](crate::routes::HealthRoute) does.
    ///
    /// ```
    /// # use posthog_health::{PostHog, Reason, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// let report = posthog.health_check().await;
    /// assert!(report.is_healthy());
    /// println!("{report}"); // {"status":"healthy","posthog":{"connected":true,"latencyMs":12},…
    /// # server.forget_token(FakePostHog::TOKEN);
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    ///
    /// // PostHog does not know the token:
    /// let report = posthog.health_check().await;
    /// assert_eq!(report.reasons, [Reason::Unauthorized]);
    /// println!("{}", report.reasons[0].detail()); // what it means and what to do
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a probe under way goes on for the next caller.
    pub async fn health_check(&self) -> HealthReport {
        let finding = match self.probe() {
            Some(probe) => probe.check().await,
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// The same, from what the latest probe found, however long ago, when this one takes longer than that.
    pub(crate) async fn health_check_within(&self, limit: Duration) -> HealthReport {
        let finding = match self.probe() {
            Some(probe) => timeout(limit, probe.check()).await.unwrap_or_else(|_| probe.latest()),
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// The report without the question: what the traffic has shown. No I/O.
    pub fn health(&self) -> HealthReport {
        report(self.evidence())
    }

    /// The alerts that fire now, the most urgent first. See [`AlertsConfig`](crate::AlertsConfig). Looked at
    /// once a second.
    pub fn alerts(&self) -> Vec<Alert> {
        self.running().map(|running| running.monitor.alerts()).unwrap_or_default()
    }

    /// Tells of each alert that begins or ceases to fire from now on. Each is a log line too: P1 at error, P2 and
    /// what is resolved at warn.
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// async fn tell(posthog: PostHog) {
    ///     let mut changes = posthog.subscribe();
    ///     while let Some(change) = changes.next().await {
    ///         println!("{:?} {}", change.alert().severity, change.alert().name);
    ///     }
    /// }
    /// ```
    pub fn subscribe(&self) -> AlertTransitions {
        self.running().map_or_else(AlertTransitions::none, |running| running.monitor.subscribe())
    }

    /// Whether the rollout of the version that runs here may go on: for a canary, asked again and again while
    /// it is watched. Judges alerts, error rate, latency and the ledger over a
    /// [window](crate::RolloutConfig::window), and says
    /// [`Hold`](RolloutVerdict::Hold) when there was too little traffic to judge by.
    pub fn rollout_verdict(&self) -> RolloutVerdict {
        match (self.life(), self.running()) {
            (Life::Running, Some(running)) => running.monitor.verdict(),
            (Life::WorkerStopped, _) => RolloutVerdict::Rollback(vec![RolloutReason::WorkerStopped]),
            _ => RolloutVerdict::Hold(vec![RolloutReason::NotRunning]),
        }
    }

    /// The delivery's circuit breaker, to look at. `None` when disabled.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreakerHandle> {
        self.running().map(|running| &running.breaker)
    }

    fn probe(&self) -> Option<Arc<Probe>> {
        self.running().and_then(Running::probe)
    }

    fn life(&self) -> Life {
        match self.running() {
            None => Life::Disabled,
            Some(_) if self.inner.queue.is_closed() => Life::ShutDown,
            Some(running) if running.worker.is_finished() => Life::WorkerStopped,
            Some(_) => Life::Running,
        }
    }

    fn evidence(&self) -> Evidence {
        let queue = self.inner.queue.snapshot();
        let running = self.running();
        let breaker = running.map(|running| &running.breaker);
        Evidence {
            life: self.life(),
            probe: running.and_then(Running::has_no_token),
            signs: running.map(|running| running.monitor.signs()).unwrap_or_default(),
            breaker: BreakerHealth {
                state: breaker.map_or(CircuitState::Closed, CircuitBreakerHandle::state),
                retry_in: breaker.and_then(CircuitBreakerHandle::retry_in),
            },
            queue,
            alerts: self.alerts(),
            now: Instant::now(),
        }
    }
}
