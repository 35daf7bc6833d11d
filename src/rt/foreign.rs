//! Calls of other people's code, which may panic.

#[cfg_attr(not(feature = "error-tracking"), path = "foreign/panic_hook_disabled.rs")]
mod panic_hook;

pub use panic_hook::expect_panic_hook;

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Foreign code panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Calls foreign code. A panic of it ends here.
///
/// It is no panic of the process, so the panic hook of the SDK's global client is not to see it: that hook would capture it
/// as an exception and hold the thread up for as long as two seconds. [`expect_panic_hook`] sees to that.
pub fn call<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    let _caught = panic_hook::Caught::enter();
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        drop_payload(payload);
        Panicked
    })
}

/// Writes a log line. The subscriber is foreign code, and a panic of it costs the line and not the task that writes it.
pub fn log(line: impl FnOnce()) {
    let _ = call(line);
}

/// What was panicked with is foreign too, and may panic when it is dropped.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_here_even_if_its_payload_panics_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::panic_any(Second);
            }
        }
        struct Second;
        impl Drop for Second {
            fn drop(&mut self) {
                panic!("never dropped");
            }
        }
        assert_eq!(call(|| 7), Ok(7));
        assert_eq!(call(|| panic!("a bug")), Err::<(), _>(Panicked));
        assert_eq!(call(|| std::panic::panic_any(Bomb)), Err::<(), _>(Panicked));
        assert_eq!(call(|| call(|| panic!("a bug"))), Ok(Err::<(), _>(Panicked)));
    }
}
