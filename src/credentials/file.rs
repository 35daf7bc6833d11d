use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::Key;
use crate::ConfigError;

/// A file with a key, such as a mounted secret. Links are followed, because Kubernetes updates a secret by swapping one.
#[derive(Clone)]
pub struct KeyFile {
    pub path: PathBuf,
    /// The setting or variable that errors name.
    pub field: &'static str,
}

/// Length, time of modification and inode: a fingerprint that changes with the file and needs no read. `None` for a missing
/// file.
pub type Stamp = Option<(u64, Option<SystemTime>, u64)>;

/// Far longer than any key. A device or a log that was named by mistake gives an error and does not fill the memory.
const LONGEST_FILE: u64 = 4096;

impl KeyFile {
    pub fn stamp(&self) -> Stamp {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.len(), metadata.modified().ok(), inode(&metadata)))
    }

    /// Takes the stamp before the content, so that a concurrent write is noticed at the next check.
    pub fn read<K: Key>(&self) -> (Stamp, Result<K, ConfigError>) {
        (self.stamp(), self.parse())
    }

    fn parse<K: Key>(&self) -> Result<K, ConfigError> {
        let content = self.content().map_err(|error| {
            let problem = format!("names a file that cannot be read ({})", error.kind());
            ConfigError::new(self.field, problem, "check the path, the mount and the permissions")
        })?;
        let text = std::str::from_utf8(&content).map_err(|_| {
            ConfigError::new(self.field, "names a file that is not UTF-8", "write the key into it again")
        })?;
        K::parse(text).map_err(|error| error.of(self.field))
    }

    fn content(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut content = Zeroizing::new(Vec::with_capacity(LONGEST_FILE as usize));
        File::open(&self.path)?.take(LONGEST_FILE).read_to_end(&mut content)?;
        Ok(content)
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::ProjectToken;

    #[test]
    fn a_file_is_read_up_to_a_size_and_its_faults_are_named_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile { path: directory.path().join("token"), field: "POSTHOG_API_KEY_FILE" };
        let says = |content: &[u8]| {
            fs::write(&file.path, content).unwrap();
            file.read::<ProjectToken>()
                .1
                .map_or_else(|error| error.to_string(), |token| token.expose().to_owned())
        };
        assert_eq!(says(b"phc_from_file\n"), "phc_from_file");
        assert!(says(b" \n").starts_with("POSTHOG_API_KEY_FILE is empty"));
        assert!(says(b"phx_secretsecret").starts_with("POSTHOG_API_KEY_FILE is a personal API key (phx_…)"));
        assert!(says(b"\xff\xfe").starts_with("POSTHOG_API_KEY_FILE names a file that is not UTF-8"));
        assert!(says(&[b'x'; 1 << 20]).contains("has 4096 characters"));
    }

    #[test]
    fn a_stamp_changes_with_writes_renames_and_removals() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile { path: directory.path().join("token"), field: "credentials" };
        let absent = file.stamp();
        assert_eq!(absent, None);
        fs::write(&file.path, "phc_one").unwrap();
        let first = file.stamp();
        assert_eq!(first, file.stamp());
        fs::write(&file.path, "phc_longer").unwrap();
        let longer = file.stamp();
        let next = directory.path().join("next");
        fs::write(&next, "phc_longes").unwrap();
        fs::rename(next, &file.path).unwrap();
        assert!(first != absent && first != longer && longer != file.stamp());
    }
}
