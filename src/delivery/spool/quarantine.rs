use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::changes::{Held, StoreError};
use super::config::Bounds;
use super::directory::Directory;
use super::salvage::salvage;
use crate::delivery::Overflow;
use crate::rt::clock;

/// A damaged file that was renamed, and replaced by a new one.
#[derive(Debug)]
pub struct SetAside {
    pub path: PathBuf,
    /// Events and dead letters that are in the new file.
    pub salvaged: u64,
    /// The damage, and the error that kept the rest from being salvaged.
    pub problem: String,
}

impl Directory {
    /// Replaces a damaged file by a new one with the records that can be read. The new file is complete before it gets the name,
    /// so an interruption at any moment leaves the work either done or to be repeated.
    pub fn set_aside(&self, slot: u32, bounds: Bounds, mut problem: String) -> Result<SetAside, StoreError> {
        let file = &self.file(slot, "redb");
        let all = Bounds { bytes: u64::MAX, age: Duration::MAX, overflow: Overflow::DropNewest, ..bounds };
        let mut store = self.open_afresh(slot, "salvaged", all)?;
        if let Err(error) = salvage(&mut self.disk.read(file)?, &mut store, || self.free()) {
            problem = format!("{problem}; not all was salvaged: {error}");
        }
        drop(store);
        let (store, contents) = self.open_file(slot, "salvaged", all, &Held::default())?;
        let salvaged_events = store.fill().events + contents.dead.len() as u64;
        drop(store);

        let path = self.free_name(file)?;
        self.disk.rename(file, &path)?;
        self.disk.rename(&self.file(slot, "salvaged"), file)?;
        Ok(SetAside { path, salvaged: salvaged_events, problem })
    }

    fn free_name(&self, damaged: &Path) -> io::Result<PathBuf> {
        let mut seconds = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        loop {
            let mut name = damaged.as_os_str().to_owned();
            name.push(format!(".damaged-{seconds}"));
            let name = PathBuf::from(name);
            if !self.disk.exists(&name)? {
                return Ok(name);
            }
            seconds += 1;
        }
    }
}
