//! A disk in memory that several simulated processes share.
//!
//! # What a failure costs
//!
//! Writes go to a page cache, and a sync makes them durable. A process that is killed loses nothing that it has written; its
//! locks are released. When the power fails, all processes die, and of the changes since the last sync any part may be on
//! disk: each sector of 512 bytes is as it was after any of its writes, or before them. The changes of names are in a
//! journal, of which the first so many are on disk.
//!
//! # Determinism
//!
//! One generator makes all draws, so equal operations in equal order have equal results.

mod faults;
mod file;
mod handles;
#[cfg(test)]
mod inspect;
mod locks;
mod names;
mod newer;
mod process;
mod state;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::file::File;
use self::state::State;
use crate::rt::lock;
pub use faults::Faults;
pub use process::ProcessDisk;

/// A machine's disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    sleep: Arc<dyn Fn(Duration) + Send + Sync>,
}

/// How often an operation that hangs looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl SimDisk {
    /// Makes an empty disk. An operation that is slow or hangs calls `sleep`, and no lock is held meanwhile.
    pub fn new(seed: u64, sleep: Arc<dyn Fn(Duration) + Send + Sync>) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), sleep }
    }

    /// Starts a process.
    pub fn process(&self) -> Arc<ProcessDisk> {
        let mut state = self.state();
        let number = state.number();
        state.processes.insert(number, None);
        Arc::new(ProcessDisk::new(self.clone(), number))
    }

    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.failing = if state.random.bool() { 256 } else { state.random.u16(1..256) };
        state.faults = faults;
    }

    /// The power fails and is back. All processes are dead, and a part of the unsynced content is lost.
    pub fn lose_power(&self) {
        self.state().lose_power();
    }

    /// Somebody removes all files. Open ones go on without a name.
    pub fn lose_files(&self) {
        self.state().names.remove_all();
    }

    /// The kernel needs its memory.
    pub fn evict(&self) {
        self.state().files.values_mut().for_each(File::evict);
    }

    /// One byte of a file changes by itself. Returns which, unless all files are empty.
    pub fn flip(&self) -> Option<(PathBuf, usize)> {
        let state = &mut *self.state();
        let State { names, files, random, .. } = state;
        let mut lengths = Vec::new();
        for (path, file) in &names.current {
            let len = files.get(file).map_or(0, |file| file.current.len());
            lengths.extend((len > 0).then(|| (path.clone(), *file, len)));
        }
        let (path, file, len) = random.choice(lengths)?;
        // Most of a file is empty, and does not matter.
        let is_used = |offset: &usize| files.get(&file).is_some_and(|file| file.current[*offset] != 0);
        let offset = (0..100).map(|_| random.usize(0..len)).find(is_used).unwrap_or(0);
        let bits = random.u8(1..);
        state.file(file).flip(offset, bits);
        Some((path, offset))
    }

    /// Returns the names of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.current.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins an operation of a living process, when the disk lets it.
    fn begin(&self, process: u64) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.is_alive(process)?;
        let mut wait = state.faults.slow;
        loop {
            if !wait.is_zero() {
                drop(state);
                (self.sleep)(wait);
                state = self.state();
                state.is_alive(process)?;
            }
            if !state.faults.hangs {
                return Ok(state);
            }
            wait = LOOK_EVERY;
        }
    }
}

impl Debug for SimDisk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("files", &self.files()).finish_non_exhaustive()
    }
}
