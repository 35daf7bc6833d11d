use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::machine::{self, Machine};
use super::open_until::OpenUntil;
use super::permit::Permit;
use super::phase::{CurrentPhase, Phase};
use super::policy::Policy;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::{CircuitBreakerConfig, CircuitOpen, CircuitState};
use crate::layers::Verdict;
use crate::rt::{Episode, target};

/// The breaker, shared by all clones. Decisions are made behind the gate's lock. The calls of a healthy service and the
/// calls that an open breaker rejects read what is published beside it, and take no lock.
#[derive(Debug)]
pub struct Shared {
    config: CircuitBreakerConfig,
    phase: CurrentPhase,
    open_until: OpenUntil,
    gate: Mutex<Gate>,
    state: watch::Sender<CircuitState>,
    /// Counts by the new state.
    transitions: [AtomicU64; CircuitState::ALL.len()],
    /// Notified of each state change and of each permit that is returned.
    pub changed: Arc<Notify>,
}

#[derive(Debug)]
struct Gate {
    policy: Policy,
    machine: Machine,
    free_probes: u32,
    episode: Episode,
    /// The episode's beginning was logged, so its end will be.
    is_logged: bool,
}

impl Shared {
    pub fn new(config: CircuitBreakerConfig) -> Self {
        let gate = Gate {
            policy: Policy::new(config.clone()),
            machine: Machine::new(),
            free_probes: 0,
            episode: Episode::default(),
            is_logged: false,
        };
        Self {
            config,
            phase: CurrentPhase::default(),
            open_until: OpenUntil::passed(machine::now()),
            gate: Mutex::new(gate),
            state: watch::Sender::new(CircuitState::Closed),
            transitions: Default::default(),
            changed: Arc::default(),
        }
    }

    pub fn state(&self) -> CircuitState {
        self.phase.read().state()
    }

    pub fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.state.subscribe()
    }

    pub fn transitions(&self, to: CircuitState) -> u64 {
        self.transitions[to as usize].load(Ordering::Relaxed)
    }

    pub fn open_time_left(&self) -> Duration {
        self.open_until.left(machine::now())
    }

    /// Lets a call pass, or returns why not.
    #[inline]
    pub fn admit(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let phase = self.phase.read();
        if phase.state() == CircuitState::Closed {
            return Ok(self.permit(phase));
        }
        self.admit_to_probe()
    }

    #[inline(never)]
    fn admit_to_probe(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let retry_in = self.open_time_left();
        if !retry_in.is_zero() {
            return Err(CircuitOpen { retry_in: Some(retry_in) });
        }
        self.probe().map(|phase| self.permit(phase))
    }

    #[inline]
    fn permit(self: &Arc<Self>, phase: Phase) -> Permit {
        Permit { breaker: Arc::clone(self), phase, settled: false }
    }

    #[cold]
    fn probe(&self) -> Result<Phase, CircuitOpen> {
        let mut gate = self.gate();
        if !gate.machine.may_probe() {
            return Err(CircuitOpen { retry_in: Some(self.open_time_left()) });
        }
        let state = self.state();
        let entered = (state == CircuitState::Open).then_some(CircuitState::HalfOpen);
        if entered.is_some() {
            gate.free_probes = self.config.probes;
        }
        if gate.free_probes == 0 && state != CircuitState::Closed {
            return Err(CircuitOpen { retry_in: None });
        }
        gate.free_probes = gate.free_probes.saturating_sub(1);
        Ok(self.publish(gate, entered))
    }

    /// Records a call's result, unless the state has changed since the call was let pass.
    #[inline]
    pub fn settle(&self, since: Phase, verdict: Verdict) {
        let failed = match verdict {
            Verdict::Success | Verdict::Refused => false,
            Verdict::Failed { .. } => true,
            Verdict::Throttled { .. } | Verdict::NotAttempted => return self.release(since),
        };
        let phase = self.phase.read();
        if !failed && phase.is_spotless() && phase.is_same(since) {
            return;
        }
        self.record(since, failed, verdict);
    }

    fn record(&self, since: Phase, failed: bool, verdict: Verdict) {
        let mut gate = self.gate();
        if !self.phase.read().is_same(since) {
            return;
        }
        if let Verdict::Failed { retry_after: Some(hint) } = verdict {
            gate.policy.not_before(machine::now().checked_add(hint));
        }
        let was_probe = since.state() != CircuitState::Closed;
        let must_open = if was_probe { failed } else { gate.policy.record(failed) };
        let entered = if must_open {
            let now = machine::now();
            let time = gate.policy.opens(now, fastrand::f64());
            self.open_until.set(now + time);
            gate.machine.open(time);
            CircuitState::Open
        } else if was_probe {
            gate.policy.recovers();
            gate.machine.close();
            CircuitState::Closed
        } else {
            return self.phase.set_spotless(gate.policy.is_spotless());
        };
        self.publish(gate, Some(entered));
    }

    /// Returns the permit of a probe that says nothing about the service.
    #[inline]
    pub fn release(&self, since: Phase) {
        if since.state() != CircuitState::Closed {
            self.release_probe(since);
        }
    }

    #[cold]
    fn release_probe(&self, since: Phase) {
        let mut gate = self.gate();
        if self.phase.read().is_same(since) {
            gate.free_probes += 1;
        }
        drop(gate);
        self.changed.notify_waiters();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a state change, if there was one, and returns the phase after it. What others read is written while the
    /// lock is held. Logging and waking follow after it, since both may run foreign code.
    fn publish(&self, mut gate: MutexGuard<'_, Gate>, entered: Option<CircuitState>) -> Phase {
        let Some(state) = entered else { return self.phase.read() };
        let before = self.state();
        self.phase.enter(state);
        let phase = self.phase.read();
        self.transitions[state as usize].fetch_add(1, Ordering::Relaxed);
        self.state.send_replace(state);
        let is_news = match state {
            CircuitState::Open if gate.episode.begins(machine::now()) && before == CircuitState::Closed => {
                gate.is_logged = true;
                true
            }
            CircuitState::Closed => {
                gate.episode.begins(machine::now());
                std::mem::take(&mut gate.is_logged)
            }
            _ => false,
        };
        drop(gate);
        log(before, state, self.open_time_left(), is_news);
        self.changed.notify_waiters();
        phase
    }
}

/// Logs an episode at info or above once when it begins and once when it first ends.
fn log(before: CircuitState, entered: CircuitState, probe_in: Duration, is_news: bool) {
    match (before, entered) {
        (_, CircuitState::Open) if is_news => {
            tracing::warn!(target: target::LAYERS, ?probe_in, "circuit breaker open")
        }
        (CircuitState::Closed, CircuitState::Open) => {
            tracing::debug!(target: target::LAYERS, ?probe_in, "circuit breaker open, as lately")
        }
        (_, CircuitState::Open) => {
            tracing::debug!(target: target::LAYERS, ?probe_in, "circuit breaker open again: a probe failed")
        }
        (_, CircuitState::HalfOpen) => tracing::debug!(target: target::LAYERS, "circuit breaker half open"),
        (_, CircuitState::Closed) if is_news => {
            tracing::info!(target: target::LAYERS, "circuit breaker closed")
        }
        (_, CircuitState::Closed) => {
            tracing::debug!(target: target::LAYERS, "circuit breaker closed, as lately")
        }
    }
}
