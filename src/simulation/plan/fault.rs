//! The faults of PostHog, the network and the disk.

use std::time::Duration;

use fastrand::Rng;

/// PostHog, or the network before it, is in trouble for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trouble {
    pub fault: Fault,
    /// Of how many requests in a hundred.
    pub share: u8,
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An answer with this status, and with a Retry-After.
    Status {
        status: u16,
        retry_after: Option<u32>,
    },
    /// A page of a proxy or a firewall with this status.
    Page {
        status: u16,
    },
    Refused,
    NoName,
    NoTls,
    Reset,
    Hang,
    /// An answer after that many milliseconds.
    Slow {
        millis: u32,
    },
    /// The events arrive, and the answer is lost.
    AnswerLost,
    /// The events arrive, and the answer is cut.
    AnswerCut,
    /// The request arrives twice.
    Twice,
    /// Nothing larger than that passes.
    BodyLimit {
        bytes: u32,
    },
    OverQuota,
    /// The token is refused by capture and by the probe.
    TokenRefused,
    /// The token is unknown. Capture accepts the events and throws them away, and only the probe notices.
    TokenUnknown,
    /// The token is replaced. The old one is refused, and the provider has the new one at once.
    TokenRotated,
    /// V1 is not there: 404.
    NoV1,
    /// A proxy removes V1's headers.
    StripsHeaders,
    /// V1 asks for events again, the share of them.
    V1Retries,
    /// V1 does not mention events.
    V1Forgets,
    /// V1 takes events with a warning.
    V1Warns,
    /// V1 has a verdict that nobody knows.
    V1Invents,
    /// V1 drops events for a quota.
    V1OverQuota,
    /// V1 drops events, whatever they are.
    V1Drops,
}

impl Fault {
    /// The name that the coverage report counts it under.
    pub fn name(self) -> String {
        match self {
            Self::Status { status, retry_after: None } => format!("{status}"),
            Self::Status { status, retry_after: Some(_) } => format!("{status} with Retry-After"),
            Self::Page { status } => format!("{status} with a page"),
            Self::Slow { .. } => "slow answers".into(),
            Self::BodyLimit { .. } => "a body limit".into(),
            Self::Refused => "no connection".into(),
            Self::NoName => "no name".into(),
            Self::NoTls => "no TLS".into(),
            Self::Reset => "resets".into(),
            Self::Hang => "hangs".into(),
            Self::AnswerLost => "lost answers".into(),
            Self::AnswerCut => "cut answers".into(),
            Self::Twice => "requests that arrive twice".into(),
            Self::OverQuota => "over quota".into(),
            Self::TokenRefused => "a refused token".into(),
            Self::TokenUnknown => "an unknown token".into(),
            Self::TokenRotated => "a rotated token".into(),
            Self::NoV1 => "no V1".into(),
            Self::StripsHeaders => "stripped headers".into(),
            Self::V1Retries => "verdicts to retry".into(),
            Self::V1Forgets => "missing verdicts".into(),
            Self::V1Warns => "warnings".into(),
            Self::V1Invents => "unknown verdicts".into(),
            Self::V1OverQuota => "verdicts of a quota".into(),
            Self::V1Drops => "wrong verdicts".into(),
        }
    }

    /// Whether the client takes it as a verdict about the events, if others are taken meanwhile.
    pub fn refuses(self) -> bool {
        match self {
            Self::Status { status, .. } | Self::Page { status } => {
                status < 500 && status != 408 && status != 429
            }
            Self::TokenRefused | Self::BodyLimit { .. } | Self::V1Drops => true,
            _ => false,
        }
    }

    /// Those that concern capture V1 alone.
    pub const OF_V1: [Self; 8] = [
        Self::NoV1,
        Self::StripsHeaders,
        Self::V1Retries,
        Self::V1Forgets,
        Self::V1Warns,
        Self::V1Invents,
        Self::V1OverQuota,
        Self::V1Drops,
    ];

    /// All others that a world can draw.
    pub fn all() -> Vec<Self> {
        let status = |status| Self::Status { status, retry_after: None };
        vec![
            status(400),
            status(402),
            status(403),
            status(404),
            status(408),
            status(413),
            status(429),
            status(500),
            status(503),
            Self::Status { status: 429, retry_after: Some(20) },
            Self::Status { status: 503, retry_after: Some(120) },
            Self::Page { status: 200 },
            Self::Page { status: 403 },
            Self::Page { status: 502 },
            Self::Refused,
            Self::NoName,
            Self::NoTls,
            Self::Reset,
            Self::Hang,
            Self::Slow { millis: 2_000 },
            Self::AnswerLost,
            Self::AnswerCut,
            Self::Twice,
            Self::BodyLimit { bytes: 8_000 },
            Self::OverQuota,
            Self::TokenRefused,
            Self::TokenUnknown,
            Self::TokenRotated,
        ]
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let all = Self::all();
        match all[rng.usize(..all.len())] {
            Self::Status { status, retry_after: Some(_) } => {
                Self::Status { status, retry_after: Some(rng.u32(1..400)) }
            }
            Self::Slow { .. } => Self::Slow { millis: rng.u32(500..9_000) },
            Self::BodyLimit { .. } => Self::BodyLimit { bytes: rng.u32(4_000..60_000) },
            fault => fault,
        }
    }
}

/// The disk is in trouble for a while, or once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskTrouble {
    pub fault: DiskFault,
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFault {
    /// Each operation takes that many milliseconds.
    Slow {
        millis: u32,
    },
    Hangs,
    Fails,
    ReadsFail,
    /// A sync fails, and the kernel forgets the pages that it should have written.
    Forgets,
    IsFull,
    /// Somebody removes the files.
    FilesRemoved,
    /// One byte of a file changes.
    ByteFlips,
    /// A later version of the crate leaves a file in the directory.
    NewerFile,
    /// The kernel needs its memory, and forgets the cached pages of files.
    Evicts,
}

impl DiskFault {
    pub const ALL: [Self; 10] = [
        Self::Slow { millis: 20 },
        Self::Hangs,
        Self::Fails,
        Self::ReadsFail,
        Self::Forgets,
        Self::IsFull,
        Self::FilesRemoved,
        Self::ByteFlips,
        Self::NewerFile,
        Self::Evicts,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Slow { .. } => "a slow disk",
            Self::Hangs => "a disk that hangs",
            Self::Fails => "a disk that fails",
            Self::ReadsFail => "a disk that cannot be read",
            Self::Forgets => "a disk that forgets",
            Self::IsFull => "a full disk",
            Self::FilesRemoved => "removed files",
            Self::ByteFlips => "a flipped byte",
            Self::NewerFile => "a file of a newer version",
            Self::Evicts => "an eviction of the page cache",
        }
    }

    /// Whether it may cost time, or anything that the client wants to write or read.
    pub fn troubles(self) -> bool {
        !matches!(self, Self::NewerFile | Self::Evicts)
    }

    /// Whether it may cost events that were on disk.
    pub fn destroys(self) -> bool {
        matches!(self, Self::FilesRemoved | Self::ByteFlips)
    }
}
