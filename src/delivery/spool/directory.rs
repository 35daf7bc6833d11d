use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::changes::{Contents, Held, StoreError};
use super::config::Bounds;
use super::disk::{Claim, Disk, Identity, Metadata};
use super::quarantine::SetAside;
use super::store::Store;
use super::taint::Tainted;
use crate::rt::{lock, target};

/// The spool's directory: `spool-0.redb`, `spool-1.redb`, …, one for each process that runs at the same time.
///
/// A process that uses a slot locks `spool-N.lock` before it opens the file, and keeps the lock until it closes the file. So
/// no two processes use the same slot. The lock file also holds the counts between two writes. No file is ever deleted: an
/// emptied file is a slot for the next process, and a damaged file is set aside.
pub struct Directory {
    pub path: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// The slot of this process. Kept while its store is closed and opened again, so that no other process
    /// takes over what this one holds in memory.
    own: Mutex<Option<Own>>,
    /// Files in which there is nothing to take over, as long as they are not changed.
    known: Mutex<HashMap<u32, (Version, Known)>>,
    pub tainted: Tainted,
}

#[derive(Clone)]
struct Own {
    slot: u32,
    claim: Arc<dyn Claim>,
    file: Option<Identity>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Empty,
    /// Of a later version of this crate.
    Newer,
}

/// A file's length, and when it was changed.
type Version = (u64, SystemTime);

/// A slot that was opened.
pub struct Opened {
    pub slot: u32,
    pub store: Store,
    pub contents: Contents,
    /// When its last process wrote to it last.
    pub written_at: u64,
    pub set_aside: Vec<SetAside>,
}

impl Directory {
    /// Makes the directory if it is missing.
    pub fn prepare(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        disk.create_directory(path)?;
        let (own, known, tainted) = Default::default();
        Ok(Self { path: path.to_owned(), disk, own, known, tainted })
    }

    /// Opens a slot for this process: the first that is free. A file that cannot be read is set aside, and what can be
    /// salvaged is in the new one.
    pub fn open(&self, bounds: Bounds) -> io::Result<Opened> {
        self.open_first(0..SLOTS, bounds, &Held::default())
    }

    /// Opens this process's slot again. If its file was removed, it gets one that has no file yet: another process may have
    /// the place by now.
    pub fn open_again(&self, bounds: Bounds, held: Held) -> io::Result<Opened> {
        let own = lock(&self.own).clone();
        if let Some(Own { slot, claim, file }) = own {
            let is_ours = self.is_at(&self.file(slot, "lock"), claim.identity()?);
            if !is_ours {
                *lock(&self.own) = None;
            }
            // With another lock, it is ours as long as nobody else has it.
            if is_ours || self.is_at(&self.file(slot, "redb"), file) {
                return self.open_first(slot..slot + 1, bounds, &held);
            }
        }
        let is_new = |slot: &u32| !self.disk.exists(&self.file(*slot, "redb")).unwrap_or(true);
        self.open_first((0..SLOTS).filter(is_new), bounds, &held)
    }

    fn open_first(
        &self,
        slots: impl Iterator<Item = u32>,
        bounds: Bounds,
        held: &Held,
    ) -> io::Result<Opened> {
        self.disk.create_directory(&self.path)?;
        let mut failure = None;
        for slot in slots {
            let Some(claim) = self.claim_or(slot, &mut failure) else { continue };
            match self.open_slot(slot, &*claim, bounds, held) {
                Ok(opened) => {
                    let metadata = self.disk.metadata(&self.file(slot, "redb"));
                    let file = metadata.ok().and_then(|metadata| metadata.identity);
                    *lock(&self.own) = Some(Own { slot, claim, file });
                    return Ok(opened);
                }
                Err(StoreError::Locked) => {}
                Err(StoreError::Newer) => self.note(slot, Known::Newer),
                Err(error) => return Err(error.into()),
            }
        }
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "no spool file is free, or none can be read");
        Err(failure.unwrap_or(busy))
    }

    /// Takes over what a process that has ended left in another slot, if one did. The slot is free again when
    /// its store is dropped.
    pub fn adopt(&self, own: u32, bounds: Bounds) -> io::Result<Option<Opened>> {
        let mut failure = None;
        for slot in (0..SLOTS).filter(|slot| *slot != own) {
            let file = self.file(slot, "redb");
            // Opening a file checks all of it, so a file that is known is opened again only after a change.
            if !self.disk.exists(&file)? || self.knows(slot).is_some() {
                continue;
            }
            let Some(claim) = self.claim_or(slot, &mut failure) else { continue };
            match self.open_slot(slot, &*claim, bounds, &Held::default()) {
                Ok(opened) if opened.is_empty() => {
                    drop(opened);
                    self.note(slot, Known::Empty);
                }
                Ok(mut opened) => {
                    opened.store.claim = Some(claim);
                    return Ok(Some(opened));
                }
                Err(StoreError::Locked) => {}
                Err(StoreError::Newer) => self.note(slot, Known::Newer),
                Err(error) => failure = failure.or(Some(error.into())),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Returns the free bytes of the disk, or `None` if the system does not report them.
    pub fn free(&self) -> Option<u64> {
        self.disk.free(&self.path)
    }

    /// Writes the counts beside our own file. The kernel keeps them if the process is killed. A loss of power may lose them, so
    /// they go into the file too from time to time.
    pub fn note_counts(&self, counts: &[u8]) -> io::Result<()> {
        let own = lock(&self.own).clone();
        match own {
            Some(Own { claim, .. }) => claim.write(counts),
            None => Ok(()),
        }
    }

    /// Locks a slot for as long as the file is open. Returns `None` if another process has it.
    fn claim(&self, slot: u32) -> io::Result<Option<Arc<dyn Claim>>> {
        let own = lock(&self.own).clone();
        if let Some(own) = own.filter(|own| own.slot == slot) {
            return Ok(Some(own.claim));
        }
        self.disk.claim(&self.file(slot, "lock"))
    }

    /// Claims a slot, but keeps an error in `failure`: if one slot cannot be claimed, another may do. The first error is kept.
    fn claim_or(&self, slot: u32, failure: &mut Option<io::Error>) -> Option<Arc<dyn Claim>> {
        self.claim(slot).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            None
        })
    }

    /// Whether a file of a later version of this crate is in the directory.
    pub fn has_newer(&self) -> bool {
        (0..SLOTS).any(|slot| self.knows(slot) == Some(Known::Newer))
    }

    /// An error if our own files are no longer where they were: somebody removed them, or put others in their place.
    pub fn check_is_in_place(&self) -> io::Result<()> {
        let Some(Own { slot, claim, file }) = lock(&self.own).clone() else { return Ok(()) };
        let claim = claim.identity()?;
        if self.is_at(&self.file(slot, "redb"), file) && self.is_at(&self.file(slot, "lock"), claim) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::StaleNetworkFileHandle, "its file was removed"))
    }

    /// What is known of a file that has not changed since.
    fn knows(&self, slot: u32) -> Option<Known> {
        let (then, known) = lock(&self.known).get(&slot).copied()?;
        self.version(&self.file(slot, "redb")).is_ok_and(|now| now == then).then_some(known)
    }

    fn note(&self, slot: u32, known: Known) {
        let file = self.file(slot, "redb");
        let Ok(version) = self.version(&file) else { return };
        let before = lock(&self.known).insert(slot, (version, known));
        if known == Known::Newer && before.is_none_or(|(_, before)| before != known) {
            tracing::warn!(
                target: target::SPOOL,
                file = %file.display(),
                "a spool file is of a newer version: left alone"
            );
        }
    }

    fn version(&self, file: &Path) -> io::Result<Version> {
        let Metadata { len, modified, .. } = self.disk.metadata(file)?;
        Ok((len, modified))
    }

    /// Whether the file of that name is this one. What cannot be found out counts as yes.
    fn is_at(&self, path: &Path, file: Option<Identity>) -> bool {
        match self.disk.metadata(path) {
            Ok(metadata) => file.is_none() || metadata.identity == file,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    pub fn file(&self, slot: u32, what: &str) -> PathBuf {
        self.path.join(format!("spool-{slot}.{what}"))
    }
}

impl Opened {
    /// Whether there is nothing to take over.
    fn is_empty(&self) -> bool {
        let Contents { totals, dead, .. } = &self.contents;
        self.store.fill().events == 0 && dead.is_empty() && *totals == Default::default()
    }
}

/// At most as many as [`Tainted`] has bits.
const SLOTS: u32 = 64;
