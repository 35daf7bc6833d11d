use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::PostHog;
use super::running::Running;
use crate::api::Current;
use crate::health::{BreakerHealth, CaptureHealth, ClientState, Evidence, HealthReport, report};
use crate::layers::{CircuitBreakerHandle, CircuitState};
use crate::monitor::{Alert, AlertTransitions, RolloutReason, RolloutVerdict};

impl PostHog {
    /// Checks that PostHog answers and accepts the token, and reports the result together with the client's own state.
    ///
    /// The check is made for readiness probes. It never fails and takes at most 2 s
    /// ([`probe_timeout`](crate::PostHogBuilder::probe_timeout)). Its answer is cached for 10 s
    /// ([`probe_cache`](crate::PostHogBuilder::probe_cache)), and concurrent callers share one request. PostHog does not
    /// bill it, and it works while the circuit breaker is open.
    ///
    /// A degraded PostHog is no reason to take a service out of rotation. Answer 200 in both cases, and 503 only where a
    /// deployment should wait, as [`HealthRoute`](crate::routes::HealthRoute) does.
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
    /// Panics outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a probe in flight continues for the next caller.
    pub async fn health_check(&self) -> HealthReport {
        let finding = match self.running() {
            Some(running) => running.probe.check().await,
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// As [`health_check`](Self::health_check), but falls back to the latest finding, however old, after `limit`.
    pub(crate) async fn health_check_within(&self, limit: Duration) -> HealthReport {
        let finding = match self.running() {
            Some(Running { probe, .. }) => {
                timeout(limit, probe.check()).await.unwrap_or_else(|_| probe.latest())
            }
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// Returns the report without a probe: the connection is judged by the traffic alone. Does no I/O.
    ///
    /// Each report asks the client's tasks for a sign of life. If they owe one for 2 s, a later report has the reason
    /// [`WorkerStopped`](crate::Reason::WorkerStopped), until they run again.
    pub fn health(&self) -> HealthReport {
        report(self.evidence())
    }

    /// Returns the alerts that fire now, the most urgent first. [`AlertsConfig`](crate::AlertsConfig) documents them. They
    /// are evaluated once a second.
    pub fn alerts(&self) -> Vec<Alert> {
        self.running().map(|running| running.monitor.alerts()).unwrap_or_default()
    }

    /// Streams alert transitions from now on: each alert that begins or ceases to fire. Each transition is also a log line:
    /// a P1 that fires at level error, all others at warn.
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// async fn notify(posthog: PostHog) {
    ///     let mut transitions = posthog.subscribe_alerts();
    ///     while let Some(transition) = transitions.next().await {
    ///         println!("{:?} {}", transition.alert().severity, transition.alert().name);
    ///     }
    /// }
    /// ```
    pub fn subscribe_alerts(&self) -> AlertTransitions {
        self.running().map_or_else(AlertTransitions::none, |running| running.monitor.subscribe())
    }

    /// Judges whether the rollout of this version may go on. Poll it while you watch a canary.
    ///
    /// The verdict covers alerts, error rate, latency and the ledger over a [window](crate::RolloutConfig::window). With too
    /// little traffic to judge by it is [`Hold`](RolloutVerdict::Hold).
    pub fn rollout_verdict(&self) -> RolloutVerdict {
        match (self.state(), self.running()) {
            (ClientState::Running, Some(running)) => running.monitor.verdict(),
            (ClientState::WorkerStopped, _) => RolloutVerdict::Rollback(vec![RolloutReason::WorkerStopped]),
            _ => RolloutVerdict::Hold(vec![RolloutReason::NotRunning]),
        }
    }

    /// The delivery's circuit breaker, to look at. `None` when disabled.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreakerHandle> {
        self.running().map(|running| &running.breaker)
    }

    fn state(&self) -> ClientState {
        match self.running() {
            None => ClientState::Disabled,
            Some(running) if self.inner.queue.is_closed() => {
                let is_over = running.worker.is_finished() || self.inner.queue.is_abandoned();
                if is_over { ClientState::ShutDown } else { ClientState::ShuttingDown }
            }
            Some(running) if self.is_unattended(running) => ClientState::WorkerStopped,
            Some(_) => ClientState::Running,
        }
    }

    /// Whether the client's tasks have ended, or nobody drives them. The tasks need not help to find out.
    pub(super) fn is_unattended(&self, running: &Running) -> bool {
        running.worker.is_finished() || self.inner.queue.is_unattended() || running.monitor.is_silent()
    }

    fn evidence(&self) -> Evidence {
        let queue = self.inner.queue.snapshot();
        let running = self.running();
        let breaker = running.map(|running| &running.breaker);
        Evidence {
            client: self.state(),
            probe: running.and_then(Running::has_no_token),
            capture: running.map(|running| {
                let Current { protocol, reason } = running.monitor.capture();
                CaptureHealth { protocol, reason }
            }),
            without_person: running.and_then(|running| running.monitor.without_person()),
            summary: running.map(|running| running.monitor.summary()).unwrap_or_default(),
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
