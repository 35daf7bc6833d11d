use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::rt::{named, serialize_optional_ms};

/// How the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SpoolHealth {
    /// Whether it works.
    pub state: SpoolState,
    /// What is wrong with it, or was: a damaged file stays a matter for a person until the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue: Option<SpoolIssue>,
    /// Events on disk.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub capacity_bytes: u64,
    /// Bytes of the file. It is larger than what lies in it, and shrinks when little is left.
    pub file_bytes: u64,
    /// Time until the bound is reached if it goes on as in the last minute. Absent while it does not fill.
    #[serde(
        rename = "fullInMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub full_in: Option<Duration>,
}

named! {
    /// Whether the spool works.
    #[non_exhaustive]
    pub enum SpoolState {
        /// The file is being opened, and checked from end to end. Events stay in memory until then.
        Opening = "opening",
        /// It takes events.
        Ready = "ready",
        /// It is at a bound: of bytes, or of what stays free on the disk. Events stay in memory.
        Full = "full",
        /// It does not work, and is tried again every few seconds. Events stay in memory.
        Failing = "failing",
    }
}

/// What is wrong with a spool. In JSON a code for machines and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolIssue {
    /// The directory or file may not be made, read or written.
    NoPermission,
    /// The directory cannot be made: a part of its path is missing or no directory.
    NoDirectory,
    /// The disk is full.
    DiskFull,
    /// All files of the directory are in use by other processes, or locks do not work there.
    InUse,
    /// Reading or writing fails.
    Io,
    /// The disk has not answered for two seconds. It is not tried again before it does.
    Hangs,
    /// The file was removed, or another one has its name. A new one is begun.
    Removed,
    /// A file was damaged. It was set aside, and what could be read of it was taken over.
    Damaged,
    /// A file was written by a newer version of this crate. It was left as it is.
    Newer,
}

impl SpoolIssue {
    /// The word for machines.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    /// What it means and what to do, for whoever is on call.
    pub fn detail(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NoPermission => (
                "no_permission",
                "the spool's directory or file may not be written: check its owner and mode",
            ),
            Self::NoDirectory => (
                "no_directory",
                "the spool's directory cannot be made: check its path and that it is mounted",
            ),
            Self::DiskFull => ("disk_full", "the spool's disk is full: free some space"),
            Self::InUse => (
                "in_use",
                "all spool files are locked by other processes, or the file system knows no locks: \
                 use a local disk, or a directory for each service",
            ),
            Self::Io => ("io_error", "the spool's disk fails to read or write: check it"),
            Self::Hangs => (
                "spool_hangs",
                "the spool's disk does not answer: check it; events are sent from memory meanwhile",
            ),
            Self::Removed => (
                "removed",
                "the spool's file was removed while in use: a new one is begun, find out what removes it",
            ),
            Self::Damaged => (
                "damaged",
                "a spool file was damaged and set aside as *.damaged-*: what could be read goes on, \
                 check the disk",
            ),
            Self::Newer => (
                "newer_format",
                "a spool file is of a newer version and was left alone: its events wait for that version",
            ),
        }
    }
}

impl Serialize for SpoolIssue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut issue = serializer.serialize_struct("SpoolIssue", 2)?;
        issue.serialize_field("code", self.code())?;
        issue.serialize_field("detail", self.detail())?;
        issue.end()
    }
}

#[cfg(feature = "spool")]
impl SpoolIssue {
    pub(crate) fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => Self::NoPermission,
            NotFound | NotADirectory | AlreadyExists => Self::NoDirectory,
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull,
            StaleNetworkFileHandle => Self::Removed,
            ResourceBusy | WouldBlock | Unsupported => Self::InUse,
            _ => Self::Io,
        }
    }
}
