//! Shared by the loom tests of the layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use tokio::runtime::Builder;

/// Runs the two closures that `two` returns in a thread each, in all orders, and checks what they share at the end. Each
/// order is tried with the threads swapped as well, because loom only goes back to the last access of a cell, so it
/// matters which comes first.
pub fn model<A, B, S>(two: impl Fn() -> (A, B, Arc<S>) + Copy + Sync + Send + 'static, end: fn(&S))
where
    A: FnOnce() + 'static,
    B: FnOnce() + 'static,
    S: 'static,
{
    let orders = Arc::new(AtomicUsize::new(0));
    // Time stands still, because a model must do the same each time, however slow the machine is.
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    for swapped in [false, true] {
        let orders = Arc::clone(&orders);
        loom::model(move || {
            orders.fetch_add(1, Ordering::Relaxed);
            let (one, other, shared) = two();
            if swapped {
                race(other, one)
            } else {
                race(one, other)
            }
            end(&shared);
        });
    }
    println!("{} orders", orders.load(Ordering::Relaxed));
}

fn race(spawned: impl FnOnce() + 'static, here: impl FnOnce()) {
    let thread = thread::spawn(spawned);
    here();
    thread.join().unwrap();
}
