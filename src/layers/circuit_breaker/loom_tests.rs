//! The breaker in all orders in which threads may run: its own source, compiled with loom's lock and atomics.
//!
//! failsafe's machine has a lock of its own, which is only taken while the breaker's is held. tokio's `Notify` does not
//! block. So each is one step to loom.

#![allow(dead_code, clippy::duplicate_mod, reason = "the same source, on other foundations")]

use std::sync::Arc;
use std::time::Duration;

use super::{CircuitBreakerConfig, CircuitOpen, CircuitState, half_open, machine, policy};
use crate::layers::Verdict;
use crate::layers::gate::Pass;
use crate::layers::loom_support::model;
use breaker::Shared;
use open_until::Left;
use permit::{Permit, permit};

#[path = "breaker.rs"]
mod breaker;
#[path = "open_until.rs"]
mod open_until;
#[path = "permit.rs"]
mod permit;
#[path = "phase.rs"]
mod phase;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    /// Time does not pass.
    pub(super) async fn timeout<F: Future>(_: std::time::Duration, future: F) -> Result<F::Output, ()> {
        Ok(future.await)
    }
}

const FAILED: Verdict = Verdict::Failed { retry_after: None };
const LONG: Duration = Duration::from_secs(3600);

/// One failure opens it, for so long.
fn breaker(open_time: Duration) -> Arc<Shared> {
    let config = CircuitBreakerConfig::default().window(1).min_calls(1).failure_rate(1.0);
    Arc::new(Shared::new(config.open_time(open_time, open_time)))
}

/// After a success, which is as many as its window holds.
fn spotless(open_time: Duration) -> Arc<Shared> {
    let breaker = breaker(open_time);
    breaker.admit().unwrap().settle(Verdict::Success);
    breaker
}

/// That of a call that was let in before.
fn result(breaker: &Arc<Shared>, verdict: Verdict) -> impl FnOnce() + use<> {
    let mut permit = breaker.admit().unwrap();
    move || permit.settle(verdict)
}

fn opened(open_time: Duration) -> Arc<Shared> {
    let breaker = breaker(open_time);
    breaker.admit().unwrap().settle(FAILED);
    breaker
}

#[test]
fn one_probe_at_a_time() {
    let two = || {
        let breaker = opened(Duration::ZERO);
        let under_way = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let probe = |verdict: Verdict| {
            let (breaker, under_way) = (Arc::clone(&breaker), Arc::clone(&under_way));
            move || {
                let Ok(mut permit) = breaker.admit() else { return };
                let others = under_way.fetch_add(1, sync::Ordering::SeqCst);
                // Those that are let in once a probe has succeeded are none.
                assert!(others == 0 || breaker.state() == CircuitState::Closed);
                under_way.fetch_sub(1, sync::Ordering::SeqCst);
                permit.settle(verdict);
            }
        };
        (probe(FAILED), probe(Verdict::Success), breaker)
    };
    model(two, |breaker| {
        assert!(breaker.state() != CircuitState::HalfOpen, "both have told what they found")
    });
}

/// Both were let in while all was well: the second failure is of another time.
#[test]
fn two_failures_at_once_open_it_once() {
    let two = || {
        let breaker = spotless(LONG);
        (result(&breaker, FAILED), result(&breaker, FAILED), breaker)
    };
    model(two, |breaker| {
        assert_eq!((breaker.transitions(CircuitState::Open), breaker.state()), (1, CircuitState::Open))
    });
}

/// A success that is not recorded hides no failure, and closes nothing.
#[test]
fn a_success_that_takes_no_lock_hides_no_failure() {
    let two = || {
        let breaker = spotless(LONG);
        (result(&breaker, Verdict::Success), result(&breaker, FAILED), breaker)
    };
    model(two, |breaker| {
        assert_eq!(breaker.state(), CircuitState::Open);
        assert!(breaker.open_time_left() != Left::Nothing);
    });
}

/// Who sees that it is open sees until when.
#[test]
fn the_end_of_the_open_time_is_there_before_the_state() {
    let two = || {
        let breaker = spotless(LONG);
        let reader = Arc::clone(&breaker);
        let read = move || {
            assert!(reader.state() == CircuitState::Closed || reader.open_time_left() != Left::Nothing)
        };
        (result(&breaker, FAILED), read, breaker)
    };
    model(two, |breaker| assert_eq!(breaker.state(), CircuitState::Open));
}

/// Who waits is woken, however the probe ends: loom calls a sleep without an end a deadlock. After a failure it is time
/// that is waited for, which loom has none of.
#[test]
fn who_waits_for_a_probe_is_woken() {
    for end in [None, Some(Verdict::Success), Some(Verdict::Throttled { retry_after: None })] {
        let two = move || {
            let breaker = opened(Duration::ZERO);
            let (mut probe, waiting) = (breaker.admit().unwrap(), Arc::clone(&breaker));
            let ends = move || match end {
                None => drop(probe),
                Some(verdict) => probe.settle(verdict),
            };
            let waits = || drop::<Permit>(loom::future::block_on(permit(waiting)));
            (ends, waits, breaker)
        };
        model(two, |_| {});
    }
}

/// A failure that comes at the same time as an operator's decision changes nothing about it.
#[test]
fn an_operator_has_the_last_word() {
    for state in [CircuitState::Open, CircuitState::Closed] {
        let two = move || {
            let breaker = spotless(LONG);
            let operator = Arc::clone(&breaker);
            (result(&breaker, FAILED), move || operator.force(Some(state)), breaker)
        };
        let end = match state {
            CircuitState::Open => |breaker: &Shared| assert_eq!(breaker.open_time_left(), Left::Endless),
            _ => |breaker: &Shared| assert_eq!(breaker.state(), CircuitState::Closed),
        };
        model(two, end);
    }
}
