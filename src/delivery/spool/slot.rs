use std::io;

use super::changes::{Contents, Held, StoreError};
use super::config::Bounds;
use super::directory::{Directory, Opened};
use super::disk::Claim;
use super::guard::guarded;
use super::open::is_newer;
use super::record::{self, Record};
use super::state::State;
use super::store::Store;

impl Directory {
    /// Opens a slot that is claimed.
    pub fn open_slot(
        &self,
        slot: u32,
        claim: &dyn Claim,
        bounds: Bounds,
        held: &Held,
    ) -> Result<Opened, StoreError> {
        let was_tainted = self.tainted.take(slot);
        let opened = self.open_claimed(slot, claim, bounds, held, was_tainted);
        if was_tainted && opened.is_err() {
            self.tainted.add(slot);
        }
        if opened.is_ok() && self.tainted.has(slot) {
            // A new file was closed before it was opened, and that reports no error.
            return Err(io::Error::other("a new file could not be synced").into());
        }
        opened
    }

    fn open_claimed(
        &self,
        slot: u32,
        claim: &dyn Claim,
        bounds: Bounds,
        held: &Held,
        is_tainted: bool,
    ) -> Result<Opened, StoreError> {
        let file = self.file(slot, "redb");
        let (new, salvaged) = (self.file(slot, "new"), self.file(slot, "salvaged"));
        if self.disk.exists(&new)? {
            // A process that made it was stopped. It may be large.
            self.disk.remove(&new)?;
        }
        if !self.disk.exists(&file)? && self.disk.exists(&salvaged)? {
            // The process that salvaged the file was stopped just before this.
            self.disk.rename(&salvaged, &file)?;
        }
        let mut rewritten = Ok(());
        if self.disk.exists(&file)? {
            // Before all of it is checked, and perhaps repaired.
            if self.is_newer(slot)? {
                return Err(StoreError::Newer);
            }
            if is_tainted {
                rewritten = self.rewrite(slot, bounds);
            }
        } else {
            self.begin(slot, bounds)?;
        }
        let mut set_aside = Vec::new();
        let opened = match rewritten.and_then(|()| self.open_file(slot, "redb", bounds, held)) {
            Err(StoreError::Damaged(problem)) => {
                set_aside.push(self.set_aside(slot, bounds, problem)?);
                self.open_file(slot, "redb", bounds, held)
            }
            opened => opened,
        };
        let (store, mut contents) = opened?;
        if let Some(note) = read_note(claim)? {
            store.recount(note, &mut contents);
        }
        self.disk.sync_directory(&self.path)?;
        let written_at = store.state.at;
        Ok(Opened { slot, store, contents, written_at, set_aside })
    }

    /// Whether a later version of this crate wrote the file. Reads no more than its header and says no if that is not enough,
    /// because the file was not closed.
    fn is_newer(&self, slot: u32) -> io::Result<bool> {
        let file = self.disk.open(&self.file(slot, "redb"))?;
        Ok(guarded(|| is_newer(file)).unwrap_or(false))
    }

    /// Creates an empty file. The file is complete before it gets its name, so that a half-made file that a killed process left
    /// is not mistaken for damage.
    fn begin(&self, slot: u32, bounds: Bounds) -> Result<(), StoreError> {
        drop(self.open_afresh(slot, "new", bounds)?);
        Ok(self.disk.rename(&self.file(slot, "new"), &self.file(slot, "redb"))?)
    }

    /// Opens an empty file, whatever was there under this name.
    pub fn open_afresh(&self, slot: u32, what: &str, bounds: Bounds) -> Result<Store, StoreError> {
        let path = self.file(slot, what);
        if self.disk.exists(&path)? {
            self.disk.remove(&path)?;
        }
        Ok(self.open_file(slot, what, bounds, &Held::default())?.0)
    }

    pub fn open_file(
        &self,
        slot: u32,
        what: &str,
        bounds: Bounds,
        held: &Held,
    ) -> Result<(Store, Contents), StoreError> {
        let file = self.disk.open(&self.file(slot, what))?;
        Store::open(self.tainted.watch(slot, file), bounds, held.clone())
    }
}

fn read_note(claim: &dyn Claim) -> io::Result<Option<State>> {
    let bytes = claim.read(LARGEST_NOTE)?;
    let record = record::length(&bytes).and_then(|length| Record::read(bytes.get(..length)?));
    Ok(record.and_then(|record| State::read(&record)))
}

const LARGEST_NOTE: u64 = 64 << 10;
