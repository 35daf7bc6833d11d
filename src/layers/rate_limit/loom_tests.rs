//! The bucket in all orders in which threads may run: its own source, compiled with loom's lock and atomics. governor's
//! cell is one step to loom.

#![allow(dead_code, clippy::duplicate_mod, reason = "the same source, on other foundations")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::layers::Verdict;
use crate::layers::gate::Pass;
use crate::layers::loom_support::model;
use bucket::Bucket;
use governor::Quota;
use token::token;

use super::{RateLimitExceeded, queue};

#[path = "bucket.rs"]
mod bucket;
#[path = "token.rs"]
mod token;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    /// Time passes only for timers that are due within a second.
    pub(super) struct Sleep(tokio::time::Instant);

    pub(super) fn sleep_until(due: tokio::time::Instant) -> Sleep {
        Sleep(due)
    }

    impl Sleep {
        pub(super) fn reset(mut self: std::pin::Pin<&mut Self>, due: tokio::time::Instant) {
            self.0 = due;
        }
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            if self.0 > tokio::time::Instant::now() + std::time::Duration::from_secs(1) {
                return std::task::Poll::Pending;
            }
            loom::thread::yield_now();
            std::task::Poll::Ready(())
        }
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn throttled(retry_after: Duration) -> Verdict {
    Verdict::Throttled { retry_after: Some(retry_after) }
}

/// With more tokens than anybody takes, and no pause but what is asked for.
fn bucket() -> Arc<Bucket> {
    let quota = Quota::per_second(NonZeroU32::MAX);
    Arc::new(Bucket::new(quota, Duration::ZERO, Duration::ZERO))
}

/// Of an earlier pause, for example.
#[test]
fn a_success_ends_no_pause_that_begins_meanwhile() {
    let two = || {
        let bucket = bucket();
        bucket.settle(throttled(Duration::ZERO));
        let (one, other) = (Arc::clone(&bucket), Arc::clone(&bucket));
        (move || one.settle(throttled(LONG)), move || other.settle(Verdict::Success), bucket)
    };
    model(two, |bucket| assert!(bucket.is_paused()));
}

#[test]
fn one_scout_at_a_time_and_its_success_ends_the_episode() {
    let two = || {
        let bucket = bucket();
        bucket.settle(throttled(Duration::ZERO));
        let scouting = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let scout = || {
            let (bucket, scouting) = (Arc::clone(&bucket), Arc::clone(&scouting));
            move || {
                let Ok(mut token) = bucket.take() else { return };
                let others = scouting.fetch_add(1, sync::Ordering::SeqCst);
                assert!(others == 0 || !bucket.is_paused());
                scouting.fetch_sub(1, sync::Ordering::SeqCst);
                token.settle(Verdict::Success);
            }
        };
        (scout(), scout(), bucket)
    };
    model(two, |bucket| assert!(!bucket.is_paused()));
}

/// However the scout ends: loom calls a sleep without an end a deadlock.
#[test]
fn who_waits_for_the_scout_is_woken() {
    for end in [None, Some(Verdict::Success), Some(throttled(Duration::ZERO))] {
        let two = move || {
            let bucket = bucket();
            bucket.settle(throttled(Duration::ZERO));
            let (mut scout, waiting) = (bucket.take().unwrap(), Arc::clone(&bucket));
            let ends = move || match end {
                None => drop(scout),
                Some(verdict) => scout.settle(verdict),
            };
            (ends, || drop(loom::future::block_on(token(waiting, None))), bucket)
        };
        model(two, |_| {});
    }
}

/// The first two in line are woken, leave, and pass the wake on to the third.
#[test]
fn who_waits_behind_two_that_leave_is_woken() {
    let two = || {
        let bucket = bucket();
        bucket.settle(throttled(Duration::ZERO));
        let (mut scout, waiting) = (bucket.take().unwrap(), Arc::clone(&bucket));
        let leaving = [(); 2].map(|()| {
            let mut waits = Box::pin(token(Arc::clone(&bucket), None));
            assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            waits
        });
        let leave = move || {
            scout.settle(Verdict::Success);
            drop(leaving);
        };
        (leave, move || drop(loom::future::block_on(token(waiting, None))), bucket)
    };
    model(two, |_| {});
}
