//! An event's forms on its way through the queue.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::delivery::event::AnyEvent;

/// A raw event, numbered in the order of capture.
#[derive(Debug)]
pub(in crate::delivery) struct Captured {
    pub(in crate::delivery) event: AnyEvent,
    pub(in crate::delivery) ticket: Ticket,
}

impl Captured {
    /// Captured now; its place and its size are still to come.
    #[inline]
    pub(super) fn now(event: impl Into<AnyEvent>) -> Self {
        Self { event: event.into(), ticket: Ticket { at: SystemTime::now(), number: 0, size: 0 } }
    }
}

/// An event's place in the order of capture, its time, and the size that was reckoned for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Ticket {
    pub(in crate::delivery) at: SystemTime,
    pub(super) number: u64,
    pub(super) size: usize,
}

#[cfg(test)]
impl Ticket {
    pub(in crate::delivery) fn number(&self) -> u64 {
        self.number
    }
}

/// An event as wire JSON.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Encoded {
    pub(in crate::delivery) json: Bytes,
    pub(super) number: u64,
    /// When it was captured, in milliseconds since 1970.
    pub(super) at: u64,
    /// How many requests with it failed.
    pub(super) attempts: u32,
    /// Whether it is on disk too.
    pub(super) stored: bool,
    /// Whether it comes from there, behind the live ones.
    pub(super) from_disk: bool,
}

impl Encoded {
    pub(super) fn new(json: Bytes, ticket: Ticket) -> Self {
        let at = ticket.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Self {
            json,
            number: ticket.number,
            at: u64::try_from(at).unwrap_or(u64::MAX),
            attempts: 0,
            stored: false,
            from_disk: false,
        }
    }

    pub(in crate::delivery) fn is_from_disk(&self) -> bool {
        self.from_disk
    }

    /// Its place in the order of capture.
    pub(in crate::delivery) fn number(&self) -> u64 {
        self.number
    }
}

/// What the worker has: a batch, or raw events that are being encoded, then without `events`.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) first: u64,
    pub(super) events: Vec<Encoded>,
}
