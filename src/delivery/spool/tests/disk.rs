//! A disk in memory whose power can fail: what was written since the last sync may then be there, or not,
//! or in part.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Op>,
    /// So many more changes until the power fails.
    left: Option<usize>,
}

enum Op {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// What of the unsynced writes survives.
#[derive(Clone, Copy, Debug)]
pub enum Survives {
    All,
    Nothing,
    /// By the bits of a random number; a write that does not may be there up to a sector.
    Some(u64),
}

impl Disk {
    pub fn holding(bytes: Vec<u8>) -> Self {
        let state = State { durable: bytes.clone(), current: bytes, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().current.clone()
    }

    pub fn flip(&self, offset: usize, bits: u8) {
        let mut state = self.0.lock().unwrap();
        state.current[offset] ^= bits;
        state.durable[offset] ^= bits;
    }

    pub fn backend(&self) -> Box<dyn StorageBackend> {
        Box::new(self.clone())
    }

    /// The power fails after so many more writes and syncs.
    pub fn fail_after(&self, changes: usize) {
        self.0.lock().unwrap().left = Some(changes);
    }

    /// The power is back.
    pub fn restart(&self, survives: Survives) {
        let mut state = self.0.lock().unwrap();
        let State { durable, unsynced, .. } = &mut *state;
        let mut random = fastrand::Rng::with_seed(if let Survives::Some(seed) = survives { seed } else { 0 });
        for op in std::mem::take(unsynced) {
            let kept = match survives {
                Survives::All => true,
                Survives::Nothing => false,
                Survives::Some(_) => random.bool(),
            };
            match op {
                op if kept => op.apply(durable),
                Op::Write(offset, data) if matches!(survives, Survives::Some(_)) => {
                    let sectors = random.usize(0..=data.len() / SECTOR);
                    Op::Write(offset, data[..sectors * SECTOR].to_vec()).apply(durable);
                }
                _ => {}
            }
        }
        state.current = state.durable.clone();
        state.left = None;
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.spend()?;
        op.apply(&mut state.current);
        state.unsynced.push(op);
        Ok(())
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Op {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(len) => bytes.resize(*len, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(state.current.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.change(Op::Resize(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.spend()?;
        state.durable = state.current.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.change(Op::Write(offset as usize, data.to_vec()))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("len", &self.current.len()).finish_non_exhaustive()
    }
}

const SECTOR: usize = 512;
const LARGEST: u64 = 1 << 30;
