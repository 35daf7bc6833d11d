use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::{Claim, Disk, Metadata, Readable};
use crate::delivery::spool::files::{create_directory, identity, open_file, sync_directory};

/// The machine's file system.
#[derive(Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        create_directory(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(path)?;
        Ok(Metadata { len: metadata.len(), modified: metadata.modified()?, identity: identity(&metadata) })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(FileBackend::new(open_file(path)?).map_err(io::Error::other)?))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Readable>> {
        Ok(Box::new(File::open(path)?))
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Arc<dyn Claim>>> {
        let file = open_file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Arc::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        sync_directory(path)
    }

    fn free(&self, path: &Path) -> Option<u64> {
        fs4::available_space(path).ok()
    }
}
