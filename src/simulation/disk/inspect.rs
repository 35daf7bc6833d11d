//! Inspection, for the tests of the disk and of the spool.

use std::path::Path;

use super::SimDisk;

impl SimDisk {
    /// Returns what a read of the whole file would.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        let file = state.find(path).ok()?;
        Some(state.file(file).current.clone())
    }

    /// Returns how many operations changed something, or made changes durable.
    pub fn mutations(&self) -> u64 {
        self.state().mutations
    }
}
