//! Which files cannot be trusted because a sync of them failed.
//!
//! After a failed sync, the kernel may take pages for clean that it never wrote. Reads return them, and the next sync
//! succeeds without them, so that a loss of power takes away what seemed to be written. No number of further syncs helps; the
//! file must be [written anew](super::directory::Directory::rewrite).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

use super::backend::forward_locks;

/// The slots whose file had a failed sync, a bit for each.
///
/// Clones share them. Another process does not know of them.
#[derive(Clone, Debug, Default)]
pub struct Tainted(Arc<AtomicU64>);

impl Tainted {
    pub fn add(&self, slot: u32) {
        self.0.fetch_or(1 << slot, Ordering::Relaxed);
    }

    pub fn has(&self, slot: u32) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << slot) != 0
    }

    /// Removes the slot. Returns whether it was tainted.
    pub fn take(&self, slot: u32) -> bool {
        self.0.fetch_and(!(1 << slot), Ordering::Relaxed) & (1 << slot) != 0
    }

    /// Watches the syncs of a file.
    pub fn watch(&self, slot: u32, inner: Box<dyn StorageBackend>) -> Box<dyn StorageBackend> {
        Box::new(Watched { inner, tainted: self.clone(), slot })
    }
}

#[derive(Debug)]
struct Watched {
    inner: Box<dyn StorageBackend>,
    tainted: Tainted,
    slot: u32,
}

impl StorageBackend for Watched {
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data().inspect_err(|_| self.tainted.add(self.slot))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    forward_locks!();
}
