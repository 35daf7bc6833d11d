use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The names of all files. A name's change is durable once its directory is synced, or by chance before.
#[derive(Debug, Default)]
pub struct Names {
    pub current: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Names {
    pub fn create(&mut self, path: &Path, file: u64) {
        self.change(Change::Create(path.to_owned(), file));
    }

    pub fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    pub fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.to_owned()));
    }

    pub fn remove_all(&mut self) {
        for path in self.current.keys().cloned().collect::<Vec<_>>() {
            self.remove(&path);
        }
    }

    pub fn sync(&mut self, directory: &Path) {
        let is_in = |change: &Change| change.path().parent() == Some(directory);
        let (synced, rest) = std::mem::take(&mut self.unsynced).into_iter().partition(is_in);
        self.unsynced = rest;
        apply(synced, &mut self.durable);
    }

    /// The changes are in a journal, so the first so many survive.
    pub fn lose_power(&mut self, random: &mut fastrand::Rng) {
        let mut changes = std::mem::take(&mut self.unsynced);
        changes.truncate(random.usize(0..=changes.len()));
        apply(changes, &mut self.durable);
        self.current.clone_from(&self.durable);
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.current);
        self.unsynced.push(change);
    }
}

fn apply(changes: Vec<Change>, names: &mut BTreeMap<PathBuf, u64>) {
    changes.into_iter().for_each(|change| change.apply(names));
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path, file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}
