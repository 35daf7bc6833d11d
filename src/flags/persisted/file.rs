use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::delivery::{create_directory, open_file, sync_directory};

const NAME: &str = "flags.last-known-good";

/// Twice the longest file that is ever written.
const LONGEST: u64 = 2 * super::format::LONGEST as u64;

/// Reads the file that the process before left. Empty if there is none.
pub fn read(directory: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match File::open(directory.join(NAME)) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut content)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(content)
}

/// Replaces the file in one step. Processes that share the directory take turns, and the last one's file stays.
pub fn write(directory: &Path, content: &[u8]) -> io::Result<()> {
    create_directory(directory)?;
    let next = directory.join(format!("{NAME}.next"));
    let lock = open_file(&directory.join(format!("{NAME}.lock")))?;
    lock.lock()?;
    // A killed process may have left one, half written or of another mode.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = open_file(&next).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&next, directory.join(NAME)));
    if replaced.is_err() {
        let _ = fs::remove_file(&next);
    }
    replaced.and_then(|()| sync_directory(directory))
}
