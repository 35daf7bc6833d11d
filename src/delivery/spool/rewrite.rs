use std::io;
use std::time::{Duration, UNIX_EPOCH};

use super::changes::{Changes, Contents, Held, StoreError};
use super::config::Bounds;
use super::directory::Directory;
use super::overlay::Overlay;
use super::store::Store;
use crate::delivery::Overflow;
use crate::delivery::dead_letter::DeadLetter;

impl Directory {
    /// Replaces a [tainted](super::taint) file by a copy of it.
    ///
    /// All that was acknowledged is in the file, because redb overwrites none of it before a sync succeeds. The copy is complete
    /// before it gets the name, and the old file is not written to: a repair would be, on pages that may be missing on disk. So a
    /// loss of power at any moment leaves the one or the other.
    pub fn rewrite(&self, slot: u32, bounds: Bounds) -> Result<(), StoreError> {
        let all = Bounds { bytes: u64::MAX, age: Duration::MAX, overflow: Overflow::DropNewest, ..bounds };
        let file = self.file(slot, "redb");
        let old = Box::new(Overlay::new(self.disk.open(&file)?)?);
        let (mut old, Contents { dead, .. }) = Store::open(old, all, Held::default())?;
        let used = old.state.bytes + old.state.dead_bytes;
        if self.free().is_some_and(|free| free < bounds.min_free.saturating_add(used)) {
            // Each attempt would write all that there is room for.
            return Err(no_room().into());
        }
        let mut new = self.open_afresh(slot, "new", all)?;
        copy(&mut old, dead, &mut new, || self.free())?;
        if !old.damaged.events.is_empty() || !old.damaged.dead.is_empty() {
            // The kernel may have taken pages from memory since the file was checked.
            return Err(StoreError::Damaged("a record cannot be read".to_owned()));
        }
        drop((old, new));
        Ok(self.disk.rename(&self.file(slot, "new"), &file)?)
    }
}

fn copy(
    old: &mut Store,
    mut dead_letter: Vec<(u64, DeadLetter)>,
    new: &mut Store,
    free: impl Fn() -> Option<u64>,
) -> io::Result<()> {
    let written_at = UNIX_EPOCH + Duration::from_millis(old.state.at);
    loop {
        let put = old.load(usize::MAX, CHUNK, written_at)?;
        let totals = old.state.totals;
        let changes =
            Changes { put, dead_letter: std::mem::take(&mut dead_letter), totals, ..Changes::default() };
        // The last commit's number, so that the note beside the file is still one of this commit.
        new.state.sequence = old.state.sequence.saturating_sub(1);
        let applied = new.apply(&changes, written_at, free())?;
        if applied.written < changes.put.len() {
            return Err(no_room());
        }
        if old.is_read_to_the_end {
            return Ok(());
        }
        // What lies behind is not read again, and need not be remembered.
        old.held.clear();
        new.held.clear();
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no room for a copy of the file")
}

/// Bytes of events that are copied at a time.
const CHUNK: usize = 4 << 20;
