//! Files and directories that only their owner can read, on platforms that have such permissions.

pub use platform::{create_directory, identity, open_file, sync_directory};

#[cfg(unix)]
mod platform {
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use crate::delivery::spool::disk::Identity;

    /// Creates the directory and its parents if they are missing.
    pub fn create_directory(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Opens the file, and creates it if it is missing.
    pub fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    /// Makes sure that the names in a directory survive a loss of power.
    pub fn sync_directory(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    pub fn identity(metadata: &Metadata) -> Option<Identity> {
        Some((metadata.dev(), metadata.ino()))
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::{File, Metadata, OpenOptions, create_dir_all};
    use std::io;
    use std::path::Path;

    use crate::delivery::spool::disk::Identity;

    pub fn create_directory(path: &Path) -> io::Result<()> {
        create_dir_all(path)
    }

    pub fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    pub fn sync_directory(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// There is no identity to read, and a file in use cannot be removed there.
    pub fn identity(_: &Metadata) -> Option<Identity> {
        None
    }
}
