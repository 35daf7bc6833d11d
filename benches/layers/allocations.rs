//! How often a call asks for memory. Apart from `layers`, since counting costs time: 5 ns an allocation.
//!
//! `cargo bench --bench layers_allocations`

#[path = "../support/mod.rs"]
mod support;

mod measure;
mod subjects;

use std::time::Duration;

use measure::{Traffic, WARM_UP, all_fail, call, healthy};
use subjects::{Call, Measured, ours, theirs};
use support::{cells, print_columns};
use tokio::runtime::Builder;

const HOUR: Duration = Duration::from_secs(3600);
const WINDOW: u32 = 100;
const CALLS: u32 = 1_000;

fn main() {
    if support::Arguments::read().is_none() {
        return;
    }
    // The timeout wants one.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let (breaker, their_breaker) = (|| ours::breaker(WINDOW, HOUR), || theirs::breaker(WINDOW, HOUR));
    let (three, their_three) = (|| ours::three(WINDOW, HOUR), || theirs::three(WINDOW, HOUR));
    print_columns(&[
        cells!["allocations a call", "ours", "tower-resilience"],
        cells!["breaker, closed", count(breaker(), healthy), count(their_breaker(), healthy)],
        cells!["breaker, open: rejected", count(breaker(), all_fail), count(their_breaker(), all_fail)],
        cells!["limiter", count(ours::limiter(), healthy), count(theirs::limiter(), healthy)],
        cells!["retry", count(ours::retry(), healthy), count(theirs::retry(), healthy)],
        cells!["the three, closed", count(three(), healthy), count(their_three(), healthy)],
        cells!["the three, open: rejected", count(three(), all_fail), count(their_three(), all_fail)],
        cells!["delivery_stack", count(ours::delivery(WINDOW, HOUR), healthy), ""],
    ]);
}

/// After so much of this traffic.
fn count(mut service: impl Measured, warm_up: Traffic) -> f64 {
    (0..WARM_UP).for_each(|n| _ = call(&mut service, warm_up(n)));
    let counted = allocation_counter::measure(|| {
        (0..CALLS).for_each(|_| _ = call(&mut service, Call::Succeed));
    });
    counted.count_total as f64 / f64::from(CALLS)
}
