//! The events of a plan.

use crate::DropReason;

/// An event to capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Make {
    pub kind: EventKind,
    pub is_typed: bool,
    /// Bytes of a text in its properties.
    pub size: u32,
}

/// The special trait of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Good,
    Bad(Provokes),
    NoName,
    NoDistinctId,
    TooDeep,
    NotEncodable,
    /// Larger than one event may be.
    Oversize,
    /// Larger than the queue may be.
    Giant,
    HookChanges,
    HookDrops,
    HookPanics,
    /// The hook captures another event.
    HookCaptures,
    /// The other event.
    InsideHook,
    /// The hook blocks its thread for a second.
    HookBlocks,
}

/// The reaction of PostHog, or of a proxy before it, to a request with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provokes {
    BadRequest,
    /// A firewall's page.
    ForbiddenPage,
    /// A firewall that answers in plain text.
    Forbidden,
    TooLarge,
    ServerError,
    /// 503, and a minute's Retry-After.
    Unavailable,
    /// A proxy's page.
    GatewayPage,
    Reset,
    Hang,
}

impl EventKind {
    /// Whether PostHog takes it.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::HookChanges | Self::HookCaptures | Self::HookBlocks)
    }

    pub fn is_bad(self) -> bool {
        matches!(self, Self::Bad(_))
    }

    /// Why the client does not let it in, whatever else happens.
    pub fn refused_as(self) -> Option<DropReason> {
        Some(match self {
            Self::NoName => DropReason::NoName,
            Self::NoDistinctId => DropReason::NoDistinctId,
            Self::TooDeep => DropReason::TooDeep,
            Self::NotEncodable => DropReason::NotEncodable,
            Self::Giant => DropReason::TooLarge,
            Self::HookDrops => DropReason::BeforeSend,
            Self::HookPanics => DropReason::HookPanicked,
            Self::InsideHook => DropReason::InsideHook,
            _ => return None,
        })
    }
}

impl Provokes {
    /// Whether the answer comes at once, and again whenever the event comes.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::BadRequest | Self::ForbiddenPage | Self::Forbidden | Self::TooLarge)
    }

    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::ForbiddenPage,
        Self::Forbidden,
        Self::TooLarge,
        Self::ServerError,
        Self::Unavailable,
        Self::GatewayPage,
        Self::Reset,
        Self::Hang,
    ];
}
