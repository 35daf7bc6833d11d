//! A disk that fails or hangs on demand, for tests.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;

use crate::delivery::spool::backend::forward_locks;
use crate::delivery::spool::directory::Wrap;

/// What goes wrong, from now on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<(Mutex<Plan>, Condvar)>);

#[derive(Debug, Default)]
struct Plan {
    writes: Option<io::ErrorKind>,
    syncs: Option<io::ErrorKind>,
    reads: Option<io::ErrorKind>,
    /// This file, counted in the order of their opening, and all later ones do not answer.
    hangs_from: Option<usize>,
    opened: usize,
    bytes_read: usize,
}

impl Faults {
    /// For [`Directory::prepare_with`](crate::delivery::spool::directory::Directory::prepare_with).
    pub fn wrap(&self) -> Wrap {
        let faults = self.clone();
        Box::new(move |file| faults.around(Box::new(file)))
    }

    pub fn around(&self, inner: Box<dyn StorageBackend>) -> Box<dyn StorageBackend> {
        let mut plan = self.plan();
        plan.opened += 1;
        Box::new(Faulty { inner, faults: self.clone(), number: plan.opened - 1 })
    }

    /// Nothing answers any more, until [`release`](Self::release).
    pub fn hang(&self) {
        self.plan().hangs_from = Some(0);
    }

    /// No file answers that is opened from now on.
    pub fn hang_files_opened_later(&self) {
        let mut plan = self.plan();
        plan.hangs_from = Some(plan.opened);
    }

    /// What hangs goes on.
    pub fn release(&self) {
        self.plan().hangs_from = None;
        self.0.1.notify_all();
    }

    /// How often a file was opened.
    pub fn opened(&self) -> usize {
        self.plan().opened
    }

    pub fn bytes_read(&self) -> usize {
        self.plan().bytes_read
    }

    /// `StorageFull` is a full disk. `None`: all is well again.
    pub fn fail_writes(&self, kind: Option<io::ErrorKind>) {
        self.plan().writes = kind;
    }

    pub fn fail_syncs(&self, kind: Option<io::ErrorKind>) {
        self.plan().syncs = kind;
    }

    pub fn fail_reads(&self, kind: Option<io::ErrorKind>) {
        self.plan().reads = kind;
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.0.lock().unwrap()
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Box<dyn StorageBackend>,
    faults: Faults,
    number: usize,
}

impl Faulty {
    fn check(&self, of: impl Fn(&Plan) -> Option<io::ErrorKind>) -> io::Result<()> {
        let hangs = |plan: &mut Plan| plan.hangs_from.is_some_and(|first| self.number >= first);
        let plan = self.faults.0.1.wait_while(self.faults.plan(), hangs).unwrap();
        of(&plan).map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(|plan| plan.reads)?;
        self.faults.plan().bytes_read += out.len();
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(|plan| plan.writes)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(|plan| plan.syncs)?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(|plan| plan.writes)?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    forward_locks!();
}
