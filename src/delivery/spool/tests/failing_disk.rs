//! A disk that fails or hangs on demand, for tests.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;

use crate::delivery::spool::backend::forward_locks;
use crate::delivery::spool::disk::{Claim, Disk, Metadata, Readable, RealDisk};

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
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(FaultyDisk(self.clone()))
    }

    fn around(&self, inner: Box<dyn StorageBackend>) -> Box<dyn StorageBackend> {
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

/// The machine's disk, whose open files fail.
#[derive(Debug)]
struct FaultyDisk(Faults);

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        Ok(self.0.around(RealDisk.open(path)?))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.metadata(path)
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Readable>> {
        RealDisk.read(path)
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Arc<dyn Claim>>> {
        RealDisk.claim(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_directory(path)
    }

    fn free(&self, path: &Path) -> Option<u64> {
        RealDisk.free(path)
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
