use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use redb::StorageBackend;

use super::backend::forward_locks;
use crate::rt::lock;

/// A file that stays as it is: what is written to it stays in memory.
#[derive(Debug)]
pub struct Overlay {
    inner: Box<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// The file's bytes before this one count. Beyond are zeros.
    kept: u64,
    /// Whole blocks, by their offset.
    blocks: BTreeMap<u64, Vec<u8>>,
}

const BLOCK: u64 = 4096;

impl Overlay {
    pub fn new(inner: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = inner.len()?;
        Ok(Self { inner, written: Mutex::new(Written { len, kept: len, blocks: BTreeMap::new() }) })
    }

    /// Reads the file, with zeros where it does not count.
    fn read_file(&self, kept: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (file, zeros) = out.split_at_mut(kept.saturating_sub(offset).min(out.len() as u64) as usize);
        zeros.fill(0);
        if file.is_empty() { Ok(()) } else { self.inner.read(offset, file) }
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = lock(&self.written);
        let end = offset + out.len() as u64;
        if end > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(written.kept, offset, out)?;
        for (start, block) in written.blocks.range(offset / BLOCK * BLOCK..end) {
            let (of_block, of_out) = overlap(*start, offset, out.len());
            out[of_out].copy_from_slice(&block[of_block]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = lock(&self.written);
        let end = offset + data.len() as u64;
        for start in (offset / BLOCK * BLOCK..end).step_by(BLOCK as usize) {
            if !written.blocks.contains_key(&start) {
                let mut block = vec![0; BLOCK as usize];
                self.read_file(written.kept, start, &mut block)?;
                written.blocks.insert(start, block);
            }
            let (of_block, of_data) = overlap(start, offset, data.len());
            let block = written.blocks.entry(start).or_default();
            block[of_block].copy_from_slice(&data[of_data]);
        }
        written.len = written.len.max(end);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = lock(&self.written);
        written.kept = written.kept.min(len);
        written.blocks.retain(|start, _| *start < len);
        if let Some((start, block)) = written.blocks.iter_mut().next_back() {
            block.iter_mut().skip((len - start) as usize).for_each(|byte| *byte = 0);
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    forward_locks!();
}

/// Where a block and these bytes overlap: in the block, and in the bytes.
fn overlap(block: u64, offset: u64, len: usize) -> (Range<usize>, Range<usize>) {
    let (from, to) = (block.max(offset), (block + BLOCK).min(offset + len as u64));
    let range = |start: u64| (from - start) as usize..(to - start) as usize;
    (range(block), range(offset))
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    /// Whatever is written: reads see it, and the file does not.
    #[test]
    fn reads_see_what_was_written_and_the_file_does_not() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut expected: Vec<u8> = (0..random.usize(0..20_000)).map(|_| random.u8(1..)).collect();
            let file = InMemoryBackend::new();
            file.set_len(expected.len() as u64).unwrap();
            file.write(0, &expected).unwrap();
            let overlay = Overlay::new(Box::new(file)).unwrap();
            let untouched = expected.clone();
            for _ in 0..8 {
                if random.u8(0..4) == 0 {
                    let len = random.usize(0..20_000);
                    expected.resize(len, 0);
                    overlay.set_len(len as u64).unwrap();
                    continue;
                }
                let (at, len) = (random.usize(0..20_000), random.usize(0..9_000));
                let data = vec![random.u8(1..); len];
                expected.resize(expected.len().max(at + len), 0);
                expected[at..at + len].copy_from_slice(&data);
                overlay.write(at as u64, &data).unwrap();
            }
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
            let at = random.usize(0..=expected.len());
            let mut read = vec![9; expected.len() - at];
            overlay.read(at as u64, &mut read).unwrap();
            assert!(read == expected[at..]);
            assert!(overlay.read(at as u64 + 1, &mut read).is_err() || read.is_empty());
            let mut file = vec![9; untouched.len()];
            overlay.inner.read(0, &mut file).unwrap();
            assert!(file == untouched);
        }
    }
}
