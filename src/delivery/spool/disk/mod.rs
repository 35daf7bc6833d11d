//! What the spool asks of a file system: [`RealDisk`] is the machine's, and a simulation has a disk in memory.

mod claim;
#[cfg_attr(not(feature = "simulation"), path = "current/disabled.rs")]
mod current;
mod real;

use std::fmt::Debug;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use redb::StorageBackend;

pub use claim::Claim;
pub use current::current;
#[cfg(feature = "simulation")]
pub use current::used_by;
pub use real::RealDisk;

pub trait Disk: Debug + Send + Sync {
    /// Creates the directory and its parents if they are missing.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Opens the file for redb, and creates it if it is missing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>>;

    /// Opens a file to read it from end to end.
    fn read(&self, path: &Path) -> io::Result<Box<dyn Readable>>;

    /// Locks the file, and creates it if it is missing. Returns `None` if another process has it.
    fn claim(&self, path: &Path) -> io::Result<Option<Arc<dyn Claim>>>;

    /// Replaces the file at the new name, if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes sure that the names in a directory survive a loss of power.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Returns the free bytes of the disk that holds the directory, or `None` if the system does not report them.
    fn free(&self, path: &Path) -> Option<u64>;
}

/// What a file system says about a file.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    pub len: u64,
    pub modified: SystemTime,
    pub identity: Option<Identity>,
}

/// What tells a file from another one of the same name, on platforms that have such a thing.
pub type Identity = (u64, u64);

pub trait Readable: Read + Seek {}

impl<T: Read + Seek> Readable for T {}
