use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

/// The locks of a backend that wraps another.
macro_rules! forward_locks {
    () => { $crate::delivery::spool::backend::forward_locks! {
        try_lock_range -> bool;
        try_lock_shared_range -> bool;
        lock_range -> ();
        lock_shared_range -> ();
        unlock_range -> ();
        query_lock_range -> bool;
    } };
    ($($lock:ident -> $ok:ty;)*) => { $(
        fn $lock(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<$ok, redb::BackendError> {
            self.inner.$lock(start, end)
        }
    )* };
}

pub(super) use forward_locks;

/// A file whose length can be read while redb owns it.
#[derive(Debug)]
pub struct Measured {
    inner: Box<dyn StorageBackend>,
    len: Arc<AtomicU64>,
}

impl Measured {
    pub fn new(inner: Box<dyn StorageBackend>) -> (Self, Arc<AtomicU64>) {
        let len = Arc::default();
        (Self { inner, len: Arc::clone(&len) }, len)
    }
}

impl StorageBackend for Measured {
    fn len(&self) -> io::Result<u64> {
        let len = self.inner.len()?;
        self.len.store(len, Ordering::Relaxed);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    forward_locks!();
}
