//! Files that a process has open.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Bound;
use std::sync::MutexGuard;

use redb::{BackendError, StorageBackend};

use super::SimDisk;
use super::locks::Handle;
use super::state::State;
use crate::delivery::{Claim, Identity};

#[derive(Debug)]
pub struct OpenFile {
    pub disk: SimDisk,
    pub file: u64,
    pub handle: Handle,
}

impl OpenFile {
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.begin(self.handle.process)
    }

    /// Reads as many bytes as there are, and at most as many as asked for.
    fn read_some(&self, offset: usize, out: &mut [u8]) -> io::Result<usize> {
        let mut state = self.begin()?;
        if state.faults.reads_fail {
            return Err(io::Error::other("an I/O error of the device"));
        }
        let bytes = state.file(self.file).current.get(offset..).unwrap_or_default();
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    /// Locks the whole file, as redb's backend does where there are no locks of ranges.
    fn lock(&self, range: (Bound<u64>, Bound<u64>), is_shared: bool) -> Result<bool, BackendError> {
        check_whole(range)?;
        Ok(self.begin()?.locks.try_lock(self.file, self.handle, is_shared))
    }
}

/// The kernel closes the file, whatever the disk does.
impl Drop for OpenFile {
    fn drop(&mut self) {
        self.disk.state().locks.release(self.handle);
    }
}

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.begin()?.file(self.file).current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.read_some(to_usize(offset)?, out)?;
        if read < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.begin()?.resize(self.handle, self.file, to_usize(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.begin()?.sync(self.handle, self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.begin()?.write(self.handle, self.file, to_usize(offset)?, data)
    }

    fn close(&self) -> io::Result<()> {
        self.begin()?.locks.release(self.handle);
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock((start, end), false)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock((start, end), true)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        check_whole((start, end))?;
        self.begin()?.locks.release(self.handle);
        Ok(())
    }
}

impl Claim for OpenFile {
    fn identity(&self) -> io::Result<Option<Identity>> {
        drop(self.begin()?);
        Ok(Some((0, self.file)))
    }

    fn read(&self, at_most: u64) -> io::Result<Vec<u8>> {
        let mut note = vec![0; to_usize(at_most)?];
        let len = self.read_some(0, &mut note)?;
        note.truncate(len);
        Ok(note)
    }

    fn write(&self, note: &[u8]) -> io::Result<()> {
        self.begin()?.write(self.handle, self.file, 0, note)
    }
}

/// Reads a file from end to end.
#[derive(Debug)]
pub struct Reader {
    file: OpenFile,
    at: u64,
}

impl Reader {
    pub fn new(file: OpenFile) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_some(to_usize(self.at)?, out)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let moved = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.len()?.checked_add_signed(by),
        };
        self.at = moved.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn to_usize(number: u64) -> io::Result<usize> {
    number.try_into().map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn check_whole(range: (Bound<u64>, Bound<u64>)) -> Result<(), BackendError> {
    let is_whole = matches!(range, (Bound::Unbounded | Bound::Included(0), Bound::Unbounded));
    if is_whole { Ok(()) } else { Err(BackendError::Unsupported) }
}
