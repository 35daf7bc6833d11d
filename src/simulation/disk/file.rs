use std::collections::BTreeMap;
use std::ops::Range;

/// A file with its pages in the page cache.
#[derive(Debug, Default)]
pub struct File {
    /// The content that a read returns.
    pub current: Vec<u8>,
    /// The content that is on disk for certain.
    durable: Vec<u8>,
    /// The changes since the last sync.
    unsynced: Vec<Change>,
    /// The data of these writes, one after the other.
    written: Vec<u8>,
    /// Rises with each change.
    pub modified: u64,
}

#[derive(Debug)]
enum Change {
    Resize(usize),
    /// Within one sector, from this offset on, what is in this range of [`File::written`].
    Write(usize, Range<usize>),
}

/// A disk writes whole sectors.
pub const SECTOR: usize = 512;

impl File {
    pub fn resize(&mut self, len: usize) {
        self.current.resize(len, 0);
        self.unsynced.push(Change::Resize(len));
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.current.len() {
            self.resize(end);
        }
        self.current[offset..end].copy_from_slice(data);
        let mut start = offset;
        let mut from = self.written.len();
        self.written.extend_from_slice(data);
        while start < end {
            let stop = end.min((start / SECTOR + 1) * SECTOR);
            let to = from + (stop - start);
            self.unsynced.push(Change::Write(start, from..to));
            (start, from) = (stop, to);
        }
    }

    /// Whether pages are to be written back. A length is in the journal.
    pub fn is_dirty(&self) -> bool {
        self.unsynced.iter().any(|change| matches!(change, Change::Write(..)))
    }

    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&self.written, &mut self.durable);
        }
        self.written.clear();
    }

    /// The power fails. Each sector is as it was after one of its writes since the last sync, or before all of them.
    pub fn lose_power(&mut self, random: &mut fastrand::Rng) {
        self.survive(random);
        self.current.clone_from(&self.durable);
    }

    /// A sync fails, and the kernel marks the pages as clean, so no later sync writes them. Reads return them until the
    /// kernel needs their memory.
    pub fn forget(&mut self, random: &mut fastrand::Rng) {
        let len = self.current.len();
        self.survive(random);
        if self.durable.len() != len {
            // The journal is written later.
            self.unsynced.push(Change::Resize(len));
        }
        if random.bool() {
            self.evict();
        }
    }

    /// The kernel needs memory, so pages that it takes for clean are read from the disk again.
    pub fn evict(&mut self) {
        self.current.clone_from(&self.durable);
        self.unsynced.iter().for_each(|change| change.apply(&self.written, &mut self.current));
    }

    /// Changes one byte, on disk and in memory.
    pub fn flip(&mut self, offset: usize, bits: u8) {
        for copy in [&mut self.current, &mut self.durable] {
            copy.get_mut(offset).into_iter().for_each(|byte| *byte ^= bits);
        }
    }

    fn survive(&mut self, random: &mut fastrand::Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        let reach = Reach::draw(random);
        // A change survives if it is among the first so many of its sector; lengths are one more sector.
        let mut left = BTreeMap::<_, usize>::new();
        for change in &changes {
            *left.entry(change.sector()).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = reach.of(*count, random);
        }
        for change in changes {
            let left = left.entry(change.sector()).or_default();
            if *left > 0 {
                *left -= 1;
                change.apply(&self.written, &mut self.durable);
            }
        }
        self.written.clear();
    }
}

impl Change {
    fn sector(&self) -> Option<usize> {
        match self {
            Self::Resize(_) => None,
            Self::Write(offset, _) => Some(offset / SECTOR),
        }
    }

    /// A write beyond the end is lost, because the length that it needs did not survive.
    fn apply(&self, written: &[u8], bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(len) => bytes.resize(*len, 0),
            Self::Write(offset, data) => {
                let within = cut(*offset..*offset + data.len(), bytes.len());
                let data = &written[data.clone()][..within.len()];
                bytes[within].copy_from_slice(data);
            }
        }
    }
}

fn cut(range: Range<usize>, len: usize) -> Range<usize> {
    range.start.min(len)..range.end.min(len)
}

/// How much of the unsynced content is on disk all the same.
enum Reach {
    Nothing,
    Everything,
    Anything,
}

impl Reach {
    fn draw(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..4) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Anything,
        }
    }

    fn of(&self, count: usize, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => count,
            Self::Anything => random.usize(0..=count),
        }
    }
}
