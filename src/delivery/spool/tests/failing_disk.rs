//! A disk that fails on demand, for tests.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::delivery::spool::backend::forward_locks;
use crate::delivery::spool::directory::Wrap;

/// What goes wrong, from now on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    writes: Option<io::ErrorKind>,
    syncs: Option<io::ErrorKind>,
    reads: Option<io::ErrorKind>,
}

impl Faults {
    /// For [`Directory::prepare_with`](crate::delivery::spool::directory::Directory::prepare_with).
    pub fn wrap(&self) -> Wrap {
        let faults = self.clone();
        Box::new(move |file| faults.around(Box::new(file)))
    }

    pub fn around(&self, inner: Box<dyn StorageBackend>) -> Box<dyn StorageBackend> {
        Box::new(Faulty { inner, faults: self.clone() })
    }

    /// `StorageFull` is a full disk. `None`: all is well again.
    pub fn fail_writes(&self, kind: Option<io::ErrorKind>) {
        self.0.lock().unwrap().writes = kind;
    }

    pub fn fail_syncs(&self, kind: Option<io::ErrorKind>) {
        self.0.lock().unwrap().syncs = kind;
    }

    pub fn fail_reads(&self, kind: Option<io::ErrorKind>) {
        self.0.lock().unwrap().reads = kind;
    }

    fn check(&self, of: impl Fn(&Plan) -> Option<io::ErrorKind>) -> io::Result<()> {
        of(&self.0.lock().unwrap()).map_or(Ok(()), |kind| Err(kind.into()))
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Box<dyn StorageBackend>,
    faults: Faults,
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.faults.check(|plan| plan.reads)?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(|plan| plan.writes)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check(|plan| plan.syncs)?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check(|plan| plan.writes)?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    forward_locks!();
}
