use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::{FailurePolicy, Instrument, StateMachine};

use super::State;

/// failsafe's state machine, told what [`Policy`](super::policy::Policy) has decided.
#[derive(Debug)]
pub(super) struct Machine {
    machine: StateMachine<Exchange, Exchange>,
    exchange: Exchange,
}

impl Machine {
    /// Closed.
    pub(super) fn new() -> Self {
        let exchange = Exchange::default();
        let machine = StateMachine::new(exchange.clone(), exchange.clone());
        exchange.note().entered = None;
        Self { machine, exchange }
    }

    /// Opens, from closed or half open.
    pub(super) fn open(&self, time: Duration) -> Option<State> {
        self.exchange.note().open_time = Some(time);
        self.machine.on_error();
        self.entered()
    }

    /// Closes, from half open.
    pub(super) fn close(&self) -> Option<State> {
        self.machine.on_success();
        self.entered()
    }

    /// Whether the open time is over, and the state that this has led to.
    pub(super) fn may_probe(&self) -> (bool, Option<State>) {
        (self.machine.is_call_permitted(), self.entered())
    }

    fn entered(&self) -> Option<State> {
        self.exchange.note().entered.take()
    }
}

/// What failsafe's machine does not carry to us and from us. Only touched while the breaker's lock is held.
#[derive(Clone, Debug, Default)]
struct Exchange(Arc<Mutex<Note>>);

#[derive(Debug, Default)]
struct Note {
    open_time: Option<Duration>,
    entered: Option<State>,
}

impl Exchange {
    fn note(&self) -> MutexGuard<'_, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailurePolicy for Exchange {
    fn record_success(&mut self) {}

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.note().open_time.take()
    }

    fn revived(&mut self) {}
}

impl Instrument for Exchange {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.note().entered = Some(State::Open);
    }

    fn on_half_open(&self) {
        self.note().entered = Some(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.note().entered = Some(State::Closed);
    }
}
