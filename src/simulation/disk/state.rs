use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::faults::Faults;
use super::file::File;
use super::locks::{Handle, Locks};
use super::names::Names;
use crate::rt::clock;

/// All that a machine's disk and kernel know.
#[derive(Debug)]
pub struct State {
    pub random: fastrand::Rng,
    pub names: Names,
    pub files: BTreeMap<u64, File>,
    pub directories: BTreeSet<PathBuf>,
    pub locks: Locks,
    /// The living ones, and after how many more mutations each is killed.
    pub processes: BTreeMap<u64, Option<u64>>,
    /// When each of the others was killed.
    pub deaths: BTreeMap<u64, Instant>,
    pub faults: Faults,
    /// Of 256 writes or syncs, so many fail if any do.
    pub failing: u16,
    pub mutations: u64,
    last_number: u64,
}

/// Bytes of a page of the kernel's cache.
pub const PAGE: usize = 4096;

/// How far a mutation of several parts gets.
pub struct Fate {
    pub parts: usize,
    pub result: io::Result<()>,
}

impl Fate {
    pub fn happens(&self) -> bool {
        self.parts > 0
    }
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            names: Names::default(),
            files: BTreeMap::new(),
            directories: BTreeSet::new(),
            locks: Locks::default(),
            processes: BTreeMap::new(),
            deaths: BTreeMap::new(),
            faults: Faults::default(),
            failing: 0,
            mutations: 0,
            last_number: 0,
        }
    }

    /// A number for a file, a process or a handle.
    pub fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub fn is_alive(&self, process: u64) -> io::Result<()> {
        if self.processes.contains_key(&process) { Ok(()) } else { Err(killed()) }
    }

    pub fn kill(&mut self, process: u64) {
        if self.processes.remove(&process).is_some() {
            self.deaths.insert(process, clock::now());
        }
        self.locks.release_all_of(process);
    }

    /// Decides how far a process gets with a mutation: it may be killed in the middle, or the disk may fail.
    pub fn mutate(&mut self, process: u64, parts: usize) -> Fate {
        self.mutations += 1;
        let left = self.processes.get_mut(&process).and_then(Option::as_mut);
        let is_killed = left.is_some_and(|left| {
            *left -= 1;
            *left == 0
        });
        let error = match self.faults.fails {
            _ if is_killed => killed(),
            Some(kind) if self.random.u16(..256) < self.failing => kind.into(),
            _ => return Fate { parts, result: Ok(()) },
        };
        if is_killed {
            self.kill(process);
        }
        Fate { parts: self.random.usize(0..=parts), result: Err(error) }
    }

    /// The same for what happens or does not.
    pub fn mutate_whole(&mut self, process: u64, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let fate = self.mutate(process, 1);
        if fate.happens() {
            change(self);
        }
        fate.result
    }

    /// Writes the part that the process manages to write.
    pub fn write(&mut self, handle: Handle, file: u64, offset: usize, data: &[u8]) -> io::Result<()> {
        self.check_growth(file, offset + data.len())?;
        let Fate { parts, result } = self.mutate(handle.process, data.len());
        // The kernel copies page by page, and ends only between two.
        let pages = ((offset + parts) / PAGE * PAGE).saturating_sub(offset);
        let parts = if parts < data.len() { pages } else { parts };
        let modified = self.mutations;
        let file = self.file(file);
        file.write(offset, &data[..parts]);
        file.modified = modified;
        result
    }

    pub fn resize(&mut self, handle: Handle, file: u64, len: usize) -> io::Result<()> {
        self.check_growth(file, len)?;
        self.mutate_whole(handle.process, |state| {
            let modified = state.mutations;
            let file = state.file(file);
            file.resize(len);
            file.modified = modified;
        })
    }

    pub fn sync(&mut self, handle: Handle, file: u64) -> io::Result<()> {
        let fate = self.mutate(handle.process, 1);
        let Self { files, random, faults, .. } = self;
        let file = files.entry(file).or_default();
        let fails = fate.result.is_err() || faults.fails.is_none();
        if faults.forgets && fails && file.is_dirty() {
            file.forget(random);
            return fate.result.and(Err(io::Error::other("an I/O error of the device")));
        }
        if fate.happens() {
            file.sync();
        }
        fate.result
    }

    pub fn file(&mut self, file: u64) -> &mut File {
        self.files.entry(file).or_default()
    }

    pub fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.current.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Finds the file of that name, or creates it.
    pub fn find_or_create(&mut self, process: u64, path: &Path) -> io::Result<u64> {
        if let Ok(file) = self.find(path) {
            return Ok(file);
        }
        if !path.parent().is_some_and(|directory| self.directories.contains(directory)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.number();
        self.mutate_whole(process, |state| state.names.create(path, file))?;
        Ok(file)
    }

    pub fn lose_power(&mut self) {
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            self.kill(process);
        }
        let Self { files, names, random, .. } = self;
        names.lose_power(random);
        files.values_mut().for_each(|file| file.lose_power(random));
    }

    fn check_growth(&mut self, file: u64, len: usize) -> io::Result<()> {
        let grows = len > self.file(file).current.len();
        if len > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if grows && self.faults.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn killed() -> io::Error {
    io::Error::other("the process was killed")
}

/// No memory for more; a damaged file may ask for it.
const LARGEST: usize = 1 << 30;
