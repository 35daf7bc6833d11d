use std::cell::Cell;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::rt::simulated;

thread_local! {
    /// How many calls whose panics are caught this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// As long as it lives, panics of this thread are caught by us.
pub struct Caught(());

impl Caught {
    pub fn enter() -> Self {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Self(())
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() - 1));
    }
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// How often to look again, in intervals that double from a millisecond: for half a minute.
const LOOKS: u32 = 15;

/// Puts our hook first, and keeps looking whether another one was put before it: the SDK installs its hook whenever the
/// service starts its global client, and tells nobody.
///
/// Never inside a call that captures: the hook cannot be looked at while a panic is being handled, which takes the SDK's up
/// to two seconds.
pub fn expect_panic_hook() {
    is_first();
    if simulated::is_on() {
        return; // The watch would take real time.
    }
    let watch = || {
        for look in 0..LOOKS {
            thread::sleep(Duration::from_millis(1 << look));
            if !is_first() {
                return;
            }
        }
    };
    // Without a thread, a hook that comes later stays first.
    let _ = thread::Builder::new().name("posthog-health-panics".into()).spawn(watch);
}

/// Whether our hook was the first that a panic meets. It is now.
fn is_first() -> bool {
    /// The address of our latest hook. Locked while the hook is out, so that nobody takes the default one for a foreign one.
    static OURS: Mutex<usize> = Mutex::new(0);

    if thread::panicking() {
        return true; // Such a thread cannot change the hook.
    }
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let first = panic::take_hook();
    let was_first = address(&first) == *ours;
    let hook = if was_first { first } else { before(first) };
    *ours = address(&hook);
    panic::set_hook(hook);
    was_first
}

/// A hook that keeps the panics that we catch from this one.
fn before(others: Hook) -> Hook {
    Box::new(move |info| {
        if DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0) {
            let _ = writeln!(std::io::stderr(), "posthog-health caught a panic: {info}");
        } else {
            others(info);
        }
    })
}

/// Tells hooks apart. One that captures something, as ours does, has an address of its own.
fn address(hook: &Hook) -> usize {
    (&raw const **hook).cast::<()>() as usize
}
