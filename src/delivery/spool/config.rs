use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::millis;
use crate::ConfigError;
use crate::delivery::Overflow;
use crate::error::check;

/// Which events are written to the spool.
///
/// | | a crash loses | a loss of power loses |
/// |---|---|---|
/// | no spool | the events in memory | the events in memory |
/// | [`Overflow`](Self::Overflow) | the events in memory only: the events since the last batch while PostHog answers, and those of the last 100 ms and of one write to disk while delivery pauses or an event waits for more than two seconds | the same |
/// | [`WriteAhead`](Self::WriteAhead) | the events of the last moment: those of 5 ms and of one write to disk | the same |
/// | [`capture_durable`](crate::PostHog::capture_durable), either mode | no event for which it returned `Ok` | the same |
///
/// A crash and a loss of power cost the same because each write ends with `fsync`. The next start counts the lost events as
/// [`DropReason::Crash`](crate::DropReason::Crash), except those that no file had heard of: the events that were captured
/// less than 20 ms before the process was killed, or less than 10 s before a loss of power, and that are not on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolMode {
    /// Writes the events that memory cannot hold, and those that an outage or a shutdown leaves undelivered. While PostHog
    /// answers, only the ledger is written. This is the default, because `capture` costs the same as without a spool.
    #[default]
    Overflow,
    /// Writes every event before it is sent, as long as the spool has room. Each burst of events costs an `fsync` in the
    /// background.
    WriteAhead,
}

/// Configures how undelivered events are kept on disk; see [`PostHogBuilder::spool`].
///
/// [`PostHogBuilder::spool`]: crate::PostHogBuilder::spool
#[derive(Clone, Debug)]
#[must_use = "give it to PostHogBuilder::spool"]
pub struct SpoolConfig {
    pub(crate) directory: PathBuf,
    pub(crate) mode: SpoolMode,
    pub(crate) bounds: Bounds,
}

/// Limits of the events on disk.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of events, as they are on the wire.
    pub bytes: u64,
    pub age: Duration,
    /// Bytes that stay free on the disk for others.
    pub min_free: u64,
    pub overflow: Overflow,
}

impl Bounds {
    /// Whether an event that was captured at these milliseconds since 1970 is too old. Before [`LONGEST_AGE`] it was not: the
    /// clock was wrong.
    pub fn is_too_old(&self, at: u64, now: SystemTime) -> bool {
        let before = |age| now.checked_sub(age).map_or(0, millis);
        (before(LONGEST_AGE)..before(self.age)).contains(&at)
    }
}

impl SpoolConfig {
    /// Configures a spool in this directory, which is created if it is missing.
    ///
    /// Give it a local disk that outlives the process. Give each PostHog project a directory of its own, because a process
    /// sends the events that it finds with its own token. Processes that run concurrently may share a directory: each has its
    /// own file in it, and takes over the files of processes that have ended. The last known values of
    /// [feature flags](crate::PostHog::flags) are kept beside these files.
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

    /// Sets which events are written to the spool. The default is [`SpoolMode::Overflow`].
    pub fn mode(mut self, mode: SpoolMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the most bytes of events in the spool. The default is 1 GiB, which is two and a half hours of 200 events/s of
    /// 600 bytes. The file itself takes up to 2.6 times as much while it is written to (2.2 times with events below 1 kB);
    /// see
    /// [`SpoolHealth::file_bytes`](crate::SpoolHealth::file_bytes).
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Sets how long after its capture an event may stay in the spool. The default is 7 days, because older events no longer
    /// matter to current questions.
    ///
    /// Dead letters do not expire. One that is [replayed](crate::PostHog::replay_dead_letters) counts as captured at that time.
    ///
    /// The spool measures the age by a clock of its own, because the system's may jump. A process that starts more than a
    /// year after the last write takes that for such a jump, and the time does not count.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.bounds.age = age;
        self
    }

    /// Sets how many bytes of the disk stay free. With fewer, the spool counts as full. The default is 256 MiB, so that
    /// analytics never fills a disk.
    pub fn min_free_disk(mut self, bytes: u64) -> Self {
        self.bounds.min_free = bytes;
        self
    }

    /// Sets which events are dropped when the spool is full. The default is [`Overflow::DropNewest`]: the spool accepts no
    /// more events, memory fills up, and then the queue's own [policy](crate::PostHogBuilder::overflow) applies.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.bounds.overflow = policy;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.directory.as_os_str().is_empty() {
            return Err(ConfigError::new("spool", "has an empty path", "name a directory"));
        }
        check::within("spool.max_bytes", self.bounds.bytes, 1 << 20, 1 << 50)?;
        check::duration("spool.max_age", self.bounds.age, Duration::from_secs(1), LONGEST_AGE)
    }
}

const GIB: u64 = 1 << 30;
const LONGEST_AGE: Duration = Duration::from_secs(3600 * 24 * 3650);
