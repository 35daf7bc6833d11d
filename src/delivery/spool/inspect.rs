use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::SpoolConfig;
use super::files::{create_directory, open_file, sync_directory};

/// The state of a spool's directory, before a spool is opened in it or while one runs.
#[derive(Debug)]
pub struct SpoolInspection {
    /// Whether a file could be created, written, synced and removed.
    pub written: io::Result<()>,
    /// The directory's permission bits, on platforms that have them.
    pub mode: Option<u32>,
    /// The free bytes of the disk.
    pub free: Option<u64>,
    /// The most bytes that the spool may need, including those that it leaves free.
    pub wanted: u64,
    pub min_free: u64,
}

impl SpoolConfig {
    pub(crate) fn bytes(&self) -> u64 {
        self.bounds.bytes
    }

    /// Tries the directory with a file of its own, so that no file of a spool is touched. A missing directory is created and
    /// removed again.
    pub(crate) fn inspect(&self) -> SpoolInspection {
        let is_new = !self.directory.exists();
        let written = create_directory(&self.directory).and_then(|()| try_a_file(&self.directory));
        let inspection = SpoolInspection {
            written,
            mode: fs::metadata(&self.directory).ok().and_then(|metadata| mode(&metadata)),
            free: fs4::available_space(&self.directory).ok(),
            // While the file is written to, it takes up to 2.6 times the bytes in it.
            wanted: (self.bounds.bytes / 5).saturating_mul(13).saturating_add(self.bounds.min_free),
            min_free: self.bounds.min_free,
        };
        if is_new {
            // Fails if the directory is in use by now, and then it stays.
            let _ = fs::remove_dir(&self.directory);
        }
        inspection
    }
}

fn try_a_file(directory: &Path) -> io::Result<()> {
    static TRIALS: AtomicU32 = AtomicU32::new(0);
    let trial = TRIALS.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("preflight-{}-{trial}", std::process::id()));
    let mut file = open_file(&path)?;
    let written = file.write_all(b"preflight").and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written.and_then(|()| sync_directory(directory))
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777)
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> Option<u32> {
    None
}
