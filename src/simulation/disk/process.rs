use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use redb::StorageBackend;

use super::SimDisk;
use super::handles::{OpenFile, Reader};
use super::locks::Handle;
use super::state::State;
use crate::delivery::{Claim, Disk, Metadata, Readable, used_by};

/// The disk as one process sees it.
#[derive(Clone, Debug)]
pub struct ProcessDisk {
    disk: SimDisk,
    number: u64,
}

impl ProcessDisk {
    pub(super) fn new(disk: SimDisk, number: u64) -> Self {
        Self { disk, number }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Kills the process. Its operations fail from now on, and its locks are released.
    pub fn kill(&self) {
        self.disk.state().kill(self.number);
    }

    /// Kills the process in the middle of its n-th mutation from now, counted from 1.
    pub fn kill_at(&self, n: u64) {
        if let Some(left) = self.disk.state().processes.get_mut(&self.number) {
            *left = Some(n.max(1));
        }
    }

    /// Runs `work`. The spools that it starts use this disk.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        used_by(Arc::new(self.clone()), work)
    }

    pub fn is_alive(&self) -> bool {
        self.disk.state().is_alive(self.number).is_ok()
    }

    /// Returns the names of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk.files()
    }

    /// When the process was killed.
    pub fn died_at(&self) -> Option<Instant> {
        self.disk.state().deaths.get(&self.number).copied()
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.begin(self.number)
    }

    fn handle(&self, state: &mut State) -> Handle {
        Handle { process: self.number, number: state.number() }
    }
}

impl Disk for ProcessDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.directories.contains(path) {
            return Ok(());
        }
        state.mutate_whole(self.number, |state| {
            state.directories.extend(path.ancestors().map(Path::to_owned));
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.begin()?.find(path).is_ok())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let mut state = self.begin()?;
        let number = state.find(path)?;
        let file = state.file(number);
        Ok(Metadata {
            len: file.current.len() as u64,
            modified: UNIX_EPOCH + Duration::from_secs(file.modified),
            identity: Some((0, number)),
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.begin()?;
        let file = state.find_or_create(self.number, path)?;
        let handle = self.handle(&mut state);
        Ok(Box::new(OpenFile { disk: self.disk.clone(), file, handle }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Readable>> {
        let mut state = self.begin()?;
        let file = state.find(path)?;
        let handle = self.handle(&mut state);
        Ok(Box::new(Reader::new(OpenFile { disk: self.disk.clone(), file, handle })))
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Arc<dyn Claim>>> {
        let mut state = self.begin()?;
        let file = state.find_or_create(self.number, path)?;
        let handle = self.handle(&mut state);
        if !state.locks.try_lock(file, handle, false) {
            return Ok(None);
        }
        Ok(Some(Arc::new(OpenFile { disk: self.disk.clone(), file, handle })))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.find(from)?;
        state.mutate_whole(self.number, |state| state.names.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.find(path)?;
        state.mutate_whole(self.number, |state| state.names.remove(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.begin()?.mutate_whole(self.number, |state| state.names.sync(path))
    }

    fn free(&self, _: &Path) -> Option<u64> {
        let state = self.begin().ok()?;
        Some(if state.faults.is_full { 0 } else { u64::MAX })
    }
}
