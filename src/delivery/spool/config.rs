use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ConfigError;
use crate::delivery::Overflow;
use crate::error::check;

/// What goes to the spool.
///
/// | | lost when the process crashes | lost when the power fails |
/// |---|---|---|
/// | no spool | what is in memory | what is in memory |
/// | [`Overflow`](Self::Overflow) | what is in memory only: while PostHog answers, the events since the last batch; else those of the last moment | the same |
/// | [`WriteAhead`](Self::WriteAhead) | the events of the last moment: those of 5 ms and of one write to disk | the same |
/// | [`capture_durable`](crate::PostHog::capture_durable), either mode | nothing that it said `Ok` to | the same |
///
/// A crash and a loss of power cost the same because each write ends with `fsync`. What is lost is counted at
/// the next start, as [`DropReason::Crash`](crate::DropReason::Crash).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolMode {
    /// What memory cannot hold, and what an outage or a shutdown leaves behind. While PostHog answers,
    /// nothing is written but the ledger. The default: `capture` costs the same as without a spool.
    #[default]
    Overflow,
    /// Every event, before it is sent, as long as the spool takes it. Each burst of events costs an `fsync` in the background.
    WriteAhead,
}

/// Where and how undelivered events are kept on disk; see [`PostHogBuilder::spool`].
///
/// [`PostHogBuilder::spool`]: crate::PostHogBuilder::spool
#[derive(Clone, Debug)]
#[must_use = "give it to PostHogBuilder::spool"]
pub struct SpoolConfig {
    pub(crate) directory: PathBuf,
    pub(crate) mode: SpoolMode,
    pub(crate) bounds: Bounds,
}

/// How much may lie on disk.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of the events, as they are on the wire.
    pub bytes: u64,
    pub age: Duration,
    /// Bytes that stay free on the disk for others.
    pub min_free: u64,
    pub overflow: Overflow,
}

impl SpoolConfig {
    /// A spool in this directory, which is made if it is missing.
    ///
    /// Give it a local disk that outlives the process, and a directory of its own for each PostHog project:
    /// what lies there is sent with the token of whoever finds it. Processes that run side by side may share
    /// it: each has its own file in it, and takes over those of processes that have ended. What was last known of
    /// [feature flags](crate::PostHog::flags) is kept beside them.
    pub fn at(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            mode: SpoolMode::default(),
            bounds: Bounds {
                bytes: GIB,
                age: check::HOUR * 24 * 7,
                min_free: GIB / 4,
                overflow: Overflow::DropNewest,
            },
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What goes to the spool. Default [`SpoolMode::Overflow`].
    pub fn mode(mut self, mode: SpoolMode) -> Self {
        self.mode = mode;
        self
    }

    /// The most bytes of events that lie in the spool. Default 1 GiB: at 200 events/s of 600 bytes two and a
    /// half hours. The file itself takes up to twice as much while it is written to; see
    /// [`SpoolHealth::file_bytes`](crate::SpoolHealth::file_bytes).
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// How long an event may lie in the spool since its capture. Default 7 days: older events explain
    /// nothing any more that somebody still looks at.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.bounds.age = age;
        self
    }

    /// Bytes of the disk that stay free: below, the spool counts as full. Default 256 MiB, so that it is not
    /// analytics that takes the last of a disk.
    pub fn min_free_disk(mut self, bytes: u64) -> Self {
        self.bounds.min_free = bytes;
        self
    }

    /// What gives way when the spool is full. Default [`Overflow::DropNewest`]: it takes no more, memory fills
    /// up, and then the queue's own [policy](crate::PostHogBuilder::overflow) holds.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.bounds.overflow = policy;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.directory.as_os_str().is_empty() {
            return Err(ConfigError::new("spool", "has an empty path", "name a directory"));
        }
        check::within("spool.max_bytes", self.bounds.bytes, 1 << 20, 1 << 50)?;
        check::duration("spool.max_age", self.bounds.age, Duration::from_secs(1), check::HOUR * 24 * 3650)
    }
}

const GIB: u64 = 1 << 30;
