//! What the models of the layers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;

/// All orders of what `two` makes, each of both in a thread of its own: loom goes back to the last access of a cell only, so
/// it matters who comes first. What they share is looked at in the end.
pub(super) fn model<A, B, S>(two: impl Fn() -> (A, B, Arc<S>) + Copy + Sync + Send + 'static, end: fn(&S))
where
    A: FnOnce() + 'static,
    B: FnOnce() + 'static,
    S: 'static,
{
    let orders = Arc::new(AtomicUsize::new(0));
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
