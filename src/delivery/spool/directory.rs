use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::changes::{Contents, Held, StoreError};
use super::config::Bounds;
use super::files::{create_directory, open_file, sync_directory};
use super::quarantine::SetAside;
use super::record::{self, Record};
use super::state::State;
use super::store::Store;

/// The spool's directory: `spool-0.redb`, `spool-1.redb`, …, one for each process that runs at the same time.
///
/// A process that uses a slot locks `spool-N.lock` before it opens the file, and keeps the lock until it closes the file. So
/// no two processes use the same slot. The lock file also holds the counts between two writes. No file is ever deleted: an
/// emptied file is a slot for the next process, and a damaged file is set aside.
pub struct Directory {
    pub path: PathBuf,
    wrap: Wrap,
    /// The slot of this process. Kept while its store is closed and opened again, so that no other process
    /// takes over what this one holds in memory.
    own: Mutex<Option<(u32, Arc<File>)>>,
    /// The metadata of files that had nothing in them.
    empty: Mutex<HashMap<u32, Metadata>>,
}

/// A file's length, and when it was changed.
type Metadata = (u64, SystemTime);

/// A slot that was opened.
pub struct Opened {
    pub slot: u32,
    pub store: Store,
    pub contents: Contents,
    pub set_aside: Vec<SetAside>,
    /// Files of a later version of this crate, left alone.
    pub newer: Vec<PathBuf>,
}

/// Wraps the file that redb uses. Only tests wrap it.
pub type Wrap = Box<dyn Fn(FileBackend) -> Box<dyn StorageBackend> + Send + Sync>;

impl Directory {
    /// Makes the directory if it is missing.
    pub fn prepare(path: &Path) -> io::Result<Self> {
        Self::prepare_with(path, Box::new(|file| Box::new(file)))
    }

    pub fn prepare_with(path: &Path, wrap: Wrap) -> io::Result<Self> {
        create_directory(path)?;
        Ok(Self { path: path.to_owned(), wrap, own: Mutex::default(), empty: Mutex::default() })
    }

    /// Opens this process's slot: the first that is free, or `slot` again. A file that cannot be read is set
    /// aside, and what can be salvaged is in the new one.
    pub fn open(&self, bounds: Bounds, held: Held, slot: Option<u32>) -> io::Result<Opened> {
        create_directory(&self.path)?;
        let (mut newer, mut failure) = (Vec::new(), None);
        for slot in slot.map_or(0..SLOTS, |slot| slot..slot + 1) {
            let Some(claim) = self.claim_or(slot, &mut failure) else { continue };
            match self.open_slot(slot, &claim, bounds, &held) {
                Ok(opened) => {
                    *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some((slot, claim));
                    return Ok(Opened { newer, ..opened });
                }
                Err(StoreError::Locked) => {}
                Err(StoreError::Newer) => newer.push(self.file(slot, "redb")),
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
            // Opening a file checks all of it, so a file that was empty is opened again only after a change.
            if !fs::exists(&file)? || self.was_empty(slot, &file) {
                continue;
            }
            let Some(claim) = self.claim_or(slot, &mut failure) else { continue };
            match self.open_slot(slot, &claim, bounds, &Held::default()) {
                Ok(opened) if opened.is_empty() => {
                    drop(opened);
                    self.note_empty(slot, &file);
                }
                Ok(mut opened) => {
                    opened.store.claim = Some(claim);
                    return Ok(Some(opened));
                }
                Err(StoreError::Locked | StoreError::Newer) => {}
                Err(error) => failure = failure.or(Some(error.into())),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Returns the free bytes of the disk, or `None` if the system does not report them.
    pub fn free(&self) -> Option<u64> {
        fs4::available_space(&self.path).ok()
    }

    /// Writes the counts beside our own file. The kernel keeps them if the process is killed. A loss of power may lose them, so
    /// they go into the file too from time to time.
    pub fn note(&self, counts: &[u8]) -> io::Result<()> {
        match &*self.own.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((_, claim)) => {
                let mut file = &**claim;
                file.seek(io::SeekFrom::Start(0))?;
                file.write_all(counts)
            }
            None => Ok(()),
        }
    }

    /// Locks a slot for as long as the file is open. Returns `None` if another process has it.
    fn claim(&self, slot: u32) -> io::Result<Option<Arc<File>>> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((own, claim)) = own
            && own == slot
        {
            return Ok(Some(claim));
        }
        let file = open_file(&self.file(slot, "lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Arc::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Claims a slot, but keeps an error in `failure`: if one slot cannot be claimed, another may do. The first error is kept.
    fn claim_or(&self, slot: u32, failure: &mut Option<io::Error>) -> Option<Arc<File>> {
        self.claim(slot).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            None
        })
    }

    /// Opens a slot that is claimed.
    fn open_slot(&self, slot: u32, claim: &File, bounds: Bounds, held: &Held) -> Result<Opened, StoreError> {
        let file = self.file(slot, "redb");
        let salvaged = self.file(slot, "salvaged");
        if !fs::exists(&file)? && fs::exists(&salvaged)? {
            // The process that salvaged the file was stopped just before this.
            fs::rename(&salvaged, &file)?;
        }
        if !fs::exists(&file)? {
            self.begin(&file, &self.file(slot, "new"), bounds)?;
        }
        let mut set_aside = Vec::new();
        let opened = match self.open_file(&file, bounds, held) {
            Err(StoreError::Damaged(problem)) => {
                set_aside.push(self.set_aside(&file, &salvaged, bounds, problem)?);
                self.open_file(&file, bounds, held)
            }
            opened => opened,
        };
        let (store, mut contents) = opened?;
        if let Some(note) = read_note(claim)? {
            store.recount(note, &mut contents);
        }
        sync_directory(&self.path)?;
        Ok(Opened { slot, store, contents, set_aside, newer: Vec::new() })
    }

    /// Creates an empty file. The file is complete before it gets its name, so that a half-made file that a killed process left
    /// is not mistaken for damage.
    fn begin(&self, file: &Path, new: &Path, bounds: Bounds) -> Result<(), StoreError> {
        drop(self.open_afresh(new, bounds)?);
        fs::rename(new, file)?;
        Ok(())
    }

    /// Opens an empty file, whatever was there under this name.
    pub fn open_afresh(&self, path: &Path, bounds: Bounds) -> Result<Store, StoreError> {
        if fs::exists(path)? {
            fs::remove_file(path)?;
        }
        Ok(self.open_file(path, bounds, &Held::default())?.0)
    }

    pub fn open_file(
        &self,
        path: &Path,
        bounds: Bounds,
        held: &Held,
    ) -> Result<(Store, Contents), StoreError> {
        let file = FileBackend::new(open_file(path)?).map_err(io::Error::other)?;
        Store::open((self.wrap)(file), bounds, held.clone())
    }

    fn was_empty(&self, slot: u32, file: &Path) -> bool {
        let empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        empty.get(&slot).is_some_and(|then| metadata(file).is_ok_and(|now| now == *then))
    }

    fn note_empty(&self, slot: u32, file: &Path) {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(metadata) = metadata(file) {
            empty.insert(slot, metadata);
        }
    }

    fn file(&self, slot: u32, what: &str) -> PathBuf {
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

fn metadata(file: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(file)?;
    Ok((metadata.len(), metadata.modified()?))
}

fn read_note(mut claim: &File) -> io::Result<Option<State>> {
    let mut bytes = Vec::new();
    claim.seek(io::SeekFrom::Start(0))?;
    claim.take(LARGEST_NOTE).read_to_end(&mut bytes)?;
    let record = record::length(&bytes).and_then(|length| Record::read(bytes.get(..length)?));
    Ok(record.and_then(|record| State::read(&record)))
}

const SLOTS: u32 = 64;
const LARGEST_NOTE: u64 = 64 << 10;
