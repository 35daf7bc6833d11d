use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use failsafe::{StateMachine, clock};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::permit::Permit;
use super::policy::{Exchange, Policy};
use super::window::Call;
use super::{CircuitBreakerConfig, CircuitOpen, WhenOpen};
use crate::episode::Episode;
use crate::layers::Verdict;

/// The breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a circuit breaker has three states")]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected or wait.
    Open,
    /// A few calls may try.
    HalfOpen,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A handle on a breaker: its state, and nothing that changes it.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    pub(super) shared: Arc<Shared>,
}

impl CircuitBreaker {
    /// The state now. An open breaker whose time is over stays `Open` until a call comes to probe.
    pub fn state(&self) -> State {
        *self.shared.state.borrow()
    }

    /// Time until the next probe is due, while open.
    pub fn retry_in(&self) -> Option<Duration> {
        let until = self.shared.exchange.note().open_until?;
        (self.state() == State::Open).then(|| until.saturating_duration_since(clock::now()))
    }

    /// How often it has changed to this state.
    pub fn transitions(&self, to: State) -> u64 {
        self.shared.transitions[to as usize].load(Ordering::Relaxed)
    }

    /// Follows the state. A slow reader sees the latest state and may miss some in between.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    gate: Mutex<Gate>,
    exchange: Exchange,
    state: watch::Sender<State>,
    /// The number of state changes, and the state in its lowest two bits: what the closed path reads
    /// instead of taking the lock.
    epoch: AtomicU64,
    /// By the new state.
    transitions: [AtomicU64; State::ALL.len()],
    /// Told of each state change and each permit that comes back.
    pub(super) changed: Arc<Notify>,
    config: CircuitBreakerConfig,
}

#[derive(Debug)]
struct Gate {
    machine: StateMachine<Policy, Exchange>,
    free_probes: u32,
    episode: Episode,
    /// Its beginning was logged, and its end is to be.
    is_told: bool,
}

const CLOSED: u64 = 0;
const EPOCH_STEP: u64 = 4;

impl Shared {
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        let exchange = Exchange::default();
        let machine = StateMachine::new(Policy::new(config.clone(), exchange.clone()), exchange.clone());
        exchange.note().entered = None;
        Self {
            gate: Mutex::new(Gate { machine, free_probes: 0, episode: Episode::default(), is_told: false }),
            exchange,
            state: watch::Sender::new(State::Closed),
            epoch: AtomicU64::new(CLOSED),
            transitions: Default::default(),
            changed: Arc::default(),
            config,
        }
    }

    pub(super) fn waits_when_open(&self) -> bool {
        self.config.when_open == WhenOpen::Wait
    }

    /// Lets a call pass, or says why not.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch % EPOCH_STEP == CLOSED {
            return Ok(Permit::new(Arc::clone(self), epoch));
        }
        let (permit, epoch) = self.locked(|gate, exchange| {
            if !gate.machine.is_call_permitted() {
                let until = exchange.note().open_until;
                return Err(CircuitOpen {
                    retry_in: until.map(|at| at.saturating_duration_since(clock::now())),
                });
            }
            if exchange.note().entered == Some(State::HalfOpen) {
                gate.free_probes = self.config.probes;
            }
            if gate.free_probes == 0 && *self.state.borrow() != State::Closed {
                return Err(CircuitOpen { retry_in: None });
            }
            gate.free_probes = gate.free_probes.saturating_sub(1);
            Ok(())
        });
        permit.map(|()| Permit::new(Arc::clone(self), epoch))
    }

    /// Takes a call's result into account, unless the state has changed since it was let pass.
    pub(super) fn settle(&self, epoch: u64, verdict: Verdict, elapsed: Duration) {
        let failed = match verdict {
            Verdict::Success | Verdict::Refused => false,
            Verdict::Failed { .. } => true,
            Verdict::Throttled { .. } | Verdict::NotAttempted => return self.release(epoch),
        };
        let slow = self.config.slow_calls.is_some_and(|(at_least, _)| elapsed >= at_least);
        self.locked(|gate, exchange| {
            if self.epoch.load(Ordering::Acquire) != epoch {
                return;
            }
            if failed || slow {
                let mut note = exchange.note();
                note.call = Some(Call { failed, slow });
                if let Verdict::Failed { retry_after: Some(hint) } = verdict {
                    note.not_before = note.not_before.max(clock::now().checked_add(hint));
                }
                drop(note);
                gate.machine.on_error();
            } else {
                gate.machine.on_success();
            }
        });
    }

    /// Gives back the permit of a probe that says nothing about the service.
    pub(super) fn release(&self, epoch: u64) {
        if epoch % EPOCH_STEP == CLOSED {
            return;
        }
        self.locked(|gate, _| {
            if self.epoch.load(Ordering::Acquire) == epoch {
                gate.free_probes += 1;
            }
        });
        self.changed.notify_waiters();
    }

    /// Runs `decide` on the machine, then publishes the state change that it caused, if any: inside the
    /// lock what others read, outside it what may run foreign code. Gives the epoch after the decision.
    fn locked<T>(&self, decide: impl FnOnce(&mut Gate, &Exchange) -> T) -> (T, u64) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *self.state.borrow();
        let decision = decide(&mut gate, &self.exchange);
        let mut note = self.exchange.note();
        let entered = note.entered.take();
        let until = note.open_until;
        drop(note);
        let mut epoch = self.epoch.load(Ordering::Acquire);
        if let Some(state) = entered {
            epoch = (epoch / EPOCH_STEP + 1) * EPOCH_STEP + state as u64;
            self.epoch.store(epoch, Ordering::Release);
            self.transitions[state as usize].fetch_add(1, Ordering::Relaxed);
            self.state.send_replace(state);
        }
        let is_news = match entered {
            Some(State::Open) if gate.episode.begins(clock::now()) && before == State::Closed => {
                gate.is_told = true;
                true
            }
            Some(State::Closed) => {
                gate.episode.begins(clock::now());
                std::mem::take(&mut gate.is_told)
            }
            _ => false,
        };
        drop(gate);
        if let Some(state) = entered {
            log(before, state, until, is_news);
            self.changed.notify_waiters();
        }
        (decision, epoch)
    }
}

/// An episode is one line when it begins and one when it first ends.
fn log(before: State, entered: State, until: Option<Instant>, is_news: bool) {
    let probe_in = until.map(|at| tracing::field::debug(at.saturating_duration_since(clock::now())));
    match (before, entered) {
        (_, State::Open) if is_news => tracing::warn!(probe_in, "circuit breaker open"),
        (State::Closed, State::Open) => tracing::debug!(probe_in, "circuit breaker open, as lately"),
        (_, State::Open) => tracing::debug!(probe_in, "circuit breaker open again: a probe failed"),
        (_, State::HalfOpen) => tracing::debug!("circuit breaker half open"),
        (_, State::Closed) if is_news => tracing::info!("circuit breaker closed"),
        (_, State::Closed) => tracing::debug!("circuit breaker closed, as lately"),
    }
}
