use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::half_open::{Answer, HalfOpen};
use super::machine::{self, Machine};
use super::open_until::{Left, OpenUntil};
use super::permit::Permit;
use super::phase::{CurrentPhase, Phase};
use super::policy::Policy;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::{CircuitBreakerConfig, CircuitOpen, CircuitState};
use crate::layers::Verdict;
use crate::rt::{Episode, clock, target};

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
    rejected: AtomicU64,
    /// Notified of each state change and of each permit that is returned.
    pub changed: Arc<Notify>,
}

#[derive(Debug)]
struct Gate {
    policy: Policy,
    machine: Machine,
    half_open: HalfOpen,
    /// An operator has forced the state. Results count for nothing.
    is_forced: bool,
    episode: Episode,
    /// The episode's beginning was logged, so its end will be.
    is_logged: bool,
}

/// Why a call may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The open time is not over.
    For(Duration),
    /// All permits are out, until then at the latest.
    Probing(Instant),
    /// Until an operator ends it.
    Forced,
}

impl Closed {
    /// How long to wait before asking again, unless something changes before.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::For(time) => Some(time),
            Self::Probing(until) => Some(until.saturating_duration_since(machine::now())),
            Self::Forced => None,
        }
    }
}

impl From<Closed> for CircuitOpen {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::For(time) => Self { retry_in: Some(time) },
            Closed::Probing(_) | Closed::Forced => Self { retry_in: None },
        }
    }
}

impl Shared {
    pub fn new(config: CircuitBreakerConfig) -> Self {
        let gate = Gate {
            policy: Policy::new(config.clone()),
            machine: Machine::new(),
            half_open: HalfOpen::new(0, machine::now()),
            is_forced: false,
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
            rejected: AtomicU64::new(0),
            changed: Arc::default(),
        }
    }

    #[inline]
    pub fn state(&self) -> CircuitState {
        self.phase.read().state()
    }

    pub fn name(&self) -> Option<&str> {
        self.config.name.as_deref()
    }

    pub fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.state.subscribe()
    }

    pub fn transitions(&self, to: CircuitState) -> u64 {
        self.transitions[to as usize].load(Ordering::Relaxed)
    }

    pub fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub fn failure_rate(&self) -> Option<f64> {
        self.gate().policy.failure_rate(machine::now())
    }

    pub fn open_time_left(&self) -> Left {
        self.open_until.left(machine::now())
    }

    /// Lets a call pass, or returns why not.
    #[inline]
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Closed> {
        let phase = self.phase.read();
        if phase.state() == CircuitState::Closed {
            return Ok(self.permit(phase));
        }
        self.admit_to_probe()
    }

    #[inline(never)]
    fn admit_to_probe(self: &Arc<Self>) -> Result<Permit, Closed> {
        match self.open_time_left() {
            Left::Time(time) => Err(Closed::For(time)),
            Left::Endless => Err(Closed::Forced),
            Left::Nothing => self.probe().map(|phase| self.permit(phase)),
        }
    }

    #[inline]
    fn permit(self: &Arc<Self>, phase: Phase) -> Permit {
        Permit { breaker: Arc::clone(self), phase, is_settled: false, is_parked: false }
    }

    #[cold]
    fn probe(&self) -> Result<Phase, Closed> {
        let now = machine::now();
        let mut gate = self.gate();
        // It may have been opened since.
        match self.open_until.left(now) {
            Left::Nothing if gate.machine.may_probe() => {}
            Left::Endless => return Err(Closed::Forced),
            Left::Time(time) => return Err(Closed::For(time)),
            Left::Nothing => return Err(Closed::For(Duration::ZERO)),
        }
        let mut entered = None;
        match self.state() {
            CircuitState::Closed => return Ok(self.phase.read()),
            CircuitState::Open => {
                gate.half_open = HalfOpen::new(self.config.probes, now);
                entered = Some(CircuitState::HalfOpen);
            }
            CircuitState::HalfOpen => {}
        }
        match gate.half_open.ask(now, self.config.longest_probe) {
            Answer::Permit => Ok(self.publish(gate, entered)),
            Answer::Wait(until) => Err(Closed::Probing(until)),
            Answer::Hung => {
                let time = self.open(&mut gate);
                self.publish(gate, Some(CircuitState::Open));
                Err(Closed::For(time))
            }
            Answer::Idle => {
                gate.half_open = HalfOpen::new(self.config.probes, now);
                gate.half_open.ask(now, self.config.longest_probe);
                // Another phase, in which the old permits are void.
                self.phase.enter(CircuitState::HalfOpen);
                Ok(self.phase.read())
            }
        }
    }

    /// Opens for the time that is due now, and returns it.
    fn open(&self, gate: &mut Gate) -> Duration {
        let now = machine::now();
        let time = gate.policy.opens(now, fastrand::f64());
        self.open_until.set(now + time);
        gate.machine.open(time);
        time
    }

    /// Records a call's result, unless the state has changed since the call was let pass.
    #[inline]
    pub fn settle(&self, since: Phase, verdict: Verdict) {
        let failed = match verdict {
            Verdict::Success | Verdict::Refused => false,
            Verdict::Failed { .. } => true,
            Verdict::Throttled { .. } | Verdict::NotAttempted => return self.release(since, false),
        };
        let phase = self.phase.read();
        if !failed && phase.is_spotless() && phase.is_same(since) {
            return;
        }
        self.record(since, failed, verdict);
    }

    /// Records an error that came instead of a call.
    pub fn observe(&self, verdict: Verdict) {
        let phase = self.phase.read();
        if phase.state() == CircuitState::Closed {
            self.settle(phase, verdict);
        }
    }

    fn record(&self, since: Phase, failed: bool, verdict: Verdict) {
        let mut gate = self.gate();
        if !self.phase.read().is_same(since) || gate.is_forced {
            return;
        }
        if let Verdict::Failed { retry_after: Some(hint) } = verdict {
            gate.policy.not_before(machine::now() + hint.min(clock::FOREVER));
        }
        let was_probe = since.state() != CircuitState::Closed;
        let must_open = if was_probe { failed } else { gate.policy.record(failed, machine::now) };
        let entered = if must_open {
            self.open(&mut gate);
            CircuitState::Open
        } else if !was_probe {
            return self.phase.set_spotless(gate.policy.is_spotless());
        } else if gate.half_open.succeed() >= self.config.needed_successes() {
            gate.policy.recovers(machine::now());
            gate.machine.close();
            CircuitState::Closed
        } else {
            drop(gate);
            return self.changed.notify_waiters();
        };
        self.publish(gate, Some(entered));
    }

    /// Returns the permit of a probe that says nothing about the service.
    #[inline]
    pub fn release(&self, since: Phase, was_parked: bool) {
        if since.state() != CircuitState::Closed {
            self.release_probe(since, was_parked);
        }
    }

    #[cold]
    fn release_probe(&self, since: Phase, was_parked: bool) {
        let mut gate = self.gate();
        if self.phase.read().is_same(since) {
            gate.half_open.release(was_parked);
        }
        drop(gate);
        self.changed.notify_waiters();
    }

    /// A probe's permit is kept for a call that may come (`true`), or its call begins. Returns false if it is void.
    #[cold]
    pub fn park_probe(&self, since: Phase, parks: bool) -> bool {
        if !self.is_current(since) {
            return false;
        }
        let mut gate = self.gate();
        let is_current = self.phase.read().is_same(since);
        if is_current && parks {
            gate.half_open.park();
        } else if is_current {
            gate.half_open.unpark();
        }
        is_current
    }

    /// Whether a permit of that phase is still good. Permits that have been out for too long are not.
    pub fn is_current(&self, since: Phase) -> bool {
        if since.state() != CircuitState::HalfOpen {
            return self.phase.read().is_same(since);
        }
        let mut gate = self.gate();
        if !self.phase.read().is_same(since) {
            return false;
        }
        match gate.half_open.look(machine::now()) {
            Some(Answer::Hung) => {
                self.open(&mut gate);
                self.publish(gate, Some(CircuitState::Open));
                false
            }
            // Whoever asks next makes a new phase.
            Some(Answer::Idle) => false,
            _ => true,
        }
    }

    /// How long a permit of that phase is good at most, if it is a probe's.
    pub fn time_left(&self, since: Phase) -> Option<Duration> {
        (since.state() == CircuitState::HalfOpen).then_some(self.config.longest_probe)
    }

    /// An operator decides: open or closed, or by results again.
    pub fn force(&self, state: Option<CircuitState>) {
        let mut gate = self.gate();
        gate.is_forced = state.is_some();
        gate.machine.reset();
        gate.policy = Policy::new(self.config.clone());
        let state = state.unwrap_or(CircuitState::Closed);
        if state == CircuitState::Open {
            self.open_until.set_endless();
        } else {
            self.open_until.set(machine::now());
        }
        self.publish(gate, Some(state));
    }

    pub fn is_forced(&self) -> bool {
        self.gate().is_forced
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
        if before == state {
            drop(gate);
            self.changed.notify_waiters();
            return phase;
        }
        self.transitions[state as usize].fetch_add(1, Ordering::Relaxed);
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
        self.log(before, state, is_news);
        self.send_state();
        self.changed.notify_waiters();
        phase
    }

    /// Shows subscribers the latest state, in whatever order threads come here.
    fn send_state(&self) {
        loop {
            let latest = self.state();
            self.state.send_if_modified(|sent| std::mem::replace(sent, latest) != latest);
            if self.state() == latest {
                return;
            }
        }
    }

    /// Logs an episode at info or above once when it begins and once when it first ends.
    fn log(&self, before: CircuitState, entered: CircuitState, is_news: bool) {
        let breaker = self.name();
        let probe_in = self.open_time_left().time().map(tracing::field::debug);
        match (before, entered) {
            (_, CircuitState::Open) if is_news => {
                tracing::warn!(target: target::LAYERS, breaker, probe_in, "circuit breaker open")
            }
            (CircuitState::Closed, CircuitState::Open) => {
                tracing::debug!(target: target::LAYERS, breaker, probe_in, "circuit breaker open, as lately")
            }
            (_, CircuitState::Open) => {
                tracing::debug!(target: target::LAYERS, breaker, probe_in, "circuit breaker open again: a probe failed")
            }
            (_, CircuitState::HalfOpen) => {
                tracing::debug!(target: target::LAYERS, breaker, "circuit breaker half open")
            }
            (_, CircuitState::Closed) if is_news => {
                tracing::info!(target: target::LAYERS, breaker, "circuit breaker closed")
            }
            (_, CircuitState::Closed) => {
                tracing::debug!(target: target::LAYERS, breaker, "circuit breaker closed, as lately")
            }
        }
    }
}
