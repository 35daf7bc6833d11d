use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use super::Identity;
use crate::delivery::spool::files::identity;

/// A locked file. Other processes keep off its slot until it is dropped.
pub trait Claim: Debug + Send + Sync {
    fn identity(&self) -> io::Result<Option<Identity>>;

    /// Reads the note from its beginning.
    fn read(&self, at_most: u64) -> io::Result<Vec<u8>>;

    /// Writes a note over the last one, of which a longer end stays.
    fn write(&self, note: &[u8]) -> io::Result<()>;
}

impl Claim for File {
    fn identity(&self) -> io::Result<Option<Identity>> {
        Ok(identity(&self.metadata()?))
    }

    fn read(&self, at_most: u64) -> io::Result<Vec<u8>> {
        let (mut file, mut note) = (self, Vec::new());
        file.seek(io::SeekFrom::Start(0))?;
        file.take(at_most).read_to_end(&mut note)?;
        Ok(note)
    }

    fn write(&self, note: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.seek(io::SeekFrom::Start(0))?;
        file.write_all(note)
    }
}
