use std::sync::{Arc, PoisonError};
use std::time::Duration;

use failsafe::clock;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::machine::Machine;
use super::open_until::OpenUntil;
use super::permit::Permit;
use super::phase::{CurrentPhase, Phase};
use super::policy::Policy;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::window::Call;
use super::{CircuitBreakerConfig, CircuitOpen, State, WhenOpen};
use crate::episode::Episode;
use crate::layers::Verdict;
use crate::rt::target;

/// The breaker, shared by all. What decides lies behind the gate; a healthy service's calls and those that an
/// open breaker rejects read what is published beside it, and take no lock.
#[derive(Debug)]
pub(super) struct Shared {
    config: CircuitBreakerConfig,
    phase: CurrentPhase,
    open_until: OpenUntil,
    gate: Mutex<Gate>,
    state: watch::Sender<State>,
    /// By the new state.
    transitions: [AtomicU64; State::ALL.len()],
    /// Told of each state change and each permit that comes back.
    pub(super) changed: Arc<Notify>,
}

#[derive(Debug)]
struct Gate {
    policy: Policy,
    machine: Machine,
    free_probes: u32,
    episode: Episode,
    /// Its beginning was logged, and its end is to be.
    is_told: bool,
}

impl Shared {
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        let gate = Gate {
            policy: Policy::new(config.clone()),
            machine: Machine::new(),
            free_probes: 0,
            episode: Episode::default(),
            is_told: false,
        };
        Self {
            config,
            phase: CurrentPhase::default(),
            open_until: OpenUntil::passed(clock::now()),
            gate: Mutex::new(gate),
            state: watch::Sender::new(State::Closed),
            transitions: Default::default(),
            changed: Arc::default(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.phase.read().state()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn transitions(&self, to: State) -> u64 {
        self.transitions[to as usize].load(Ordering::Relaxed)
    }

    pub(super) fn open_time_left(&self) -> Duration {
        self.open_until.left(clock::now())
    }

    pub(super) fn waits_when_open(&self) -> bool {
        self.config.when_open == WhenOpen::Wait
    }

    /// From when on a call is slow, if that counts.
    #[inline]
    fn slow_at(&self) -> Option<Duration> {
        self.config.slow_calls.map(|(at_least, _)| at_least)
    }

    /// Lets a call pass, or says why not.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let phase = self.phase.read();
        if phase.state() == State::Closed {
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
        Permit::new(Arc::clone(self), phase, self.slow_at().is_some())
    }

    #[cold]
    fn probe(&self) -> Result<Phase, CircuitOpen> {
        let mut gate = self.gate();
        let (may_probe, entered) = gate.machine.may_probe();
        if !may_probe {
            return Err(CircuitOpen { retry_in: Some(self.open_time_left()) });
        }
        if entered == Some(State::HalfOpen) {
            gate.free_probes = self.config.probes;
        }
        if gate.free_probes == 0 && self.state() != State::Closed {
            return Err(CircuitOpen { retry_in: None });
        }
        gate.free_probes = gate.free_probes.saturating_sub(1);
        Ok(self.publish(gate, entered))
    }

    /// Takes a call's result into account, unless the state has changed since it was let pass.
    #[inline]
    pub(super) fn settle(&self, since: Phase, verdict: Verdict, elapsed: Option<Duration>) {
        let failed = match verdict {
            Verdict::Success | Verdict::Refused => false,
            Verdict::Failed { .. } => true,
            Verdict::Throttled { .. } | Verdict::NotAttempted => return self.release(since),
        };
        let slow = self.slow_at().zip(elapsed).is_some_and(|(at_least, elapsed)| elapsed >= at_least);
        let call = Call { failed, slow };
        let phase = self.phase.read();
        if call == Call::GOOD && phase.is_spotless() && phase.is_same(since) {
            return;
        }
        self.record(since, call, verdict);
    }

    fn record(&self, since: Phase, call: Call, verdict: Verdict) {
        let mut gate = self.gate();
        if !self.phase.read().is_same(since) {
            return;
        }
        if let Verdict::Failed { retry_after: Some(hint) } = verdict {
            gate.policy.not_before(clock::now().checked_add(hint));
        }
        let was_probe = since.state() != State::Closed;
        let must_open = if was_probe { call != Call::GOOD } else { gate.policy.record(call) };
        let entered = if must_open {
            let now = clock::now();
            let time = gate.policy.opens(now, fastrand::f64());
            self.open_until.set(now + time);
            gate.machine.open(time)
        } else if was_probe {
            gate.policy.recovers();
            gate.machine.close()
        } else {
            return self.phase.set_spotless(gate.policy.is_spotless());
        };
        self.publish(gate, entered);
    }

    /// Gives back the permit of a probe that says nothing about the service.
    #[inline]
    pub(super) fn release(&self, since: Phase) {
        if since.state() != State::Closed {
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

    /// Publishes a state change, if there was one: inside the lock what others read, outside it what may run
    /// foreign code. Gives the phase after it.
    fn publish(&self, mut gate: MutexGuard<'_, Gate>, entered: Option<State>) -> Phase {
        let Some(state) = entered else { return self.phase.read() };
        let before = self.state();
        self.phase.enter(state);
        let phase = self.phase.read();
        self.transitions[state as usize].fetch_add(1, Ordering::Relaxed);
        self.state.send_replace(state);
        let is_news = match state {
            State::Open if gate.episode.begins(clock::now()) && before == State::Closed => {
                gate.is_told = true;
                true
            }
            State::Closed => {
                gate.episode.begins(clock::now());
                std::mem::take(&mut gate.is_told)
            }
            _ => false,
        };
        drop(gate);
        log(before, state, self.open_time_left(), is_news);
        self.changed.notify_waiters();
        phase
    }
}

/// An episode is one line when it begins and one when it first ends.
fn log(before: State, entered: State, probe_in: Duration, is_news: bool) {
    match (before, entered) {
        (_, State::Open) if is_news => warn!(target: target::LAYERS, ?probe_in, "circuit breaker open"),
        (State::Closed, State::Open) => {
            debug!(target: target::LAYERS, ?probe_in, "circuit breaker open, as lately")
        }
        (_, State::Open) => {
            debug!(target: target::LAYERS, ?probe_in, "circuit breaker open again: a probe failed")
        }
        (_, State::HalfOpen) => debug!(target: target::LAYERS, "circuit breaker half open"),
        (_, State::Closed) if is_news => info!(target: target::LAYERS, "circuit breaker closed"),
        (_, State::Closed) => debug!(target: target::LAYERS, "circuit breaker closed, as lately"),
    }
}
