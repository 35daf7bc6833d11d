use std::cell::Cell;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Instant;

thread_local! {
    /// How many calls whose panics are caught this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// As long as it lives, panics of this thread are caught by us.
pub struct Caught(());

impl Caught {
    pub fn enter() -> Self {
        stay_outermost();
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

/// Seconds since the first look, from 1 on.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs() + 1
}

/// Until when the SDK's hook is expected.
static EXPECTED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The service is about to start the SDK's global client, whose hook comes at some moment after this.
pub fn expect_panic_hook() {
    EXPECTED_UNTIL.store(now() + 60, Ordering::Relaxed);
}

/// Looks whether our hook is the first that a panic meets, and puts it there: once a second, and always while the SDK's
/// is expected. The SDK installs its hook whenever the service starts its global client, and tells nobody.
fn stay_outermost() {
    static LOOKED: AtomicU64 = AtomicU64::new(0);
    static OURS: AtomicUsize = AtomicUsize::new(0);

    let now = now();
    let is_due = LOOKED.load(Ordering::Relaxed) != now || EXPECTED_UNTIL.load(Ordering::Relaxed) > now;
    // A thread that panics cannot change the hook.
    if !is_due || thread::panicking() {
        return;
    }
    LOOKED.store(now, Ordering::Relaxed);
    // One thread at a time takes the hook out, or another would take the default one for a foreign one.
    static LOOKING: Mutex<()> = Mutex::new(());
    let Ok(_looking) = LOOKING.try_lock() else { return };
    let first = panic::take_hook();
    if address(&first) == OURS.load(Ordering::Relaxed) {
        return panic::set_hook(first);
    }
    if OURS.load(Ordering::Relaxed) != 0 {
        // This is what was expected.
        EXPECTED_UNTIL.store(0, Ordering::Relaxed);
    }
    let ours: Hook = Box::new(move |info| {
        if DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0) {
            let _ = writeln!(std::io::stderr(), "posthog-health caught a panic: {info}");
        } else {
            first(info);
        }
    });
    OURS.store(address(&ours), Ordering::Relaxed);
    panic::set_hook(ours);
}

/// Tells hooks apart. One that captures something, as ours does, has an address of its own.
fn address(hook: &Hook) -> usize {
    (&raw const **hook).cast::<()>() as usize
}
