//! Which disk the spools use that this thread starts.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Disk, RealDisk};

thread_local! {
    static DISK: RefCell<Option<Arc<dyn Disk>>> = const { RefCell::new(None) };
}

/// Returns the disk that this thread uses: a simulation's, or the machine's.
pub fn current() -> Arc<dyn Disk> {
    DISK.with_borrow(|disk| disk.clone().unwrap_or_else(|| Arc::new(RealDisk)))
}

/// Runs `work`, which uses that disk.
pub fn used_by<T>(disk: Arc<dyn Disk>, work: impl FnOnce() -> T) -> T {
    let _before = Before(DISK.replace(Some(disk)));
    work()
}

/// The disk to use again, also after a panic.
struct Before(Option<Arc<dyn Disk>>);

impl Drop for Before {
    fn drop(&mut self) {
        DISK.set(self.0.take());
    }
}
