use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::SpoolConfig;
use super::files::{create_directory, open_file, sync_directory};

/// What a spool's directory is like, before a spool is opened in it or beside one that runs.
#[derive(Debug)]
pub struct SpoolInspection {
    /// Whether a file could be made, written, synced and removed.
    pub written: io::Result<()>,
    /// Permission bits of the directory, where there are such.
    pub mode: Option<u32>,
    /// Bytes of the disk that are free.
    pub free: Option<u64>,
    /// What it may come to take, with what it leaves to others.
    pub wanted: u64,
    pub min_free: u64,
}

impl SpoolConfig {
    pub(crate) fn bytes(&self) -> u64 {
        self.bounds.bytes
    }

    /// Touches no file of a spool: the trial's has a name of its own. A directory that was missing is removed again.
    pub(crate) fn inspect(&self) -> SpoolInspection {
        let is_new = !self.directory.exists();
        let written = create_directory(&self.directory).and_then(|()| try_a_file(&self.directory));
        let inspection = SpoolInspection {
            written,
            mode: fs::metadata(&self.directory).ok().and_then(|metadata| mode(&metadata)),
            free: fs4::available_space(&self.directory).ok(),
            // The file takes up to twice what lies in it while it is written to.
            wanted: self.bounds.bytes.saturating_mul(2).saturating_add(self.bounds.min_free),
            min_free: self.bounds.min_free,
        };
        if is_new {
            // What somebody has put there meanwhile keeps it.
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
