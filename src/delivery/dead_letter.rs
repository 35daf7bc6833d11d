use std::collections::VecDeque;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::rt::{clock, timestamp};
use crate::{Error, ErrorKind};

/// An event that PostHog does not accept as it is, set aside with PostHog's answer.
///
/// Serializes to one JSON object, which contains the event as it went over the wire:
/// `{"event":{…},"kind":"bad_request","status":400,"answer":"…","at":"2026-11-24T08:00:00.000000Z"}`.
/// `Debug` shows no content of the event.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event's wire JSON.
    #[serde(serialize_with = "serialize_raw")]
    pub event: Bytes,
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The HTTP status. `None` if the event was never sent, or PostHog closed the connection without an answer.
    pub status: Option<u16>,
    /// The beginning of PostHog's answer, which may repeat parts of the event.
    pub answer: Option<String>,
    /// The time at which the event was set aside.
    #[serde(serialize_with = "serialize_timestamp")]
    pub at: SystemTime,
    /// The event's place in the order of capture.
    #[serde(skip)]
    seq: u64,
}

impl DeadLetter {
    pub(crate) fn new(seq: u64, event: Bytes, error: &Error) -> Self {
        let answer = error.answer().map(str::to_owned);
        Self { event, kind: error.kind(), status: error.status(), answer, at: clock::wall(), seq }
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }
}

#[cfg(feature = "spool")]
impl DeadLetter {
    pub(crate) fn with_seq(&self, seq: u64) -> Self {
        Self { seq, ..self.clone() }
    }

    /// Reads what `Serialize` wrote.
    pub(crate) fn from_json(seq: u64, json: &[u8]) -> Option<Self> {
        let Parts { event, kind, status, answer, at } = serde_json::from_slice(json).ok()?;
        Some(Self {
            event: Bytes::copy_from_slice(event.get().as_bytes()),
            // A later version may have written a kind that this one does not know.
            kind: serde_json::from_str(kind.get()).unwrap_or(ErrorKind::BadRequest),
            status,
            answer,
            at: humantime::parse_rfc3339(&at).unwrap_or(SystemTime::UNIX_EPOCH),
            seq,
        })
    }
}

#[cfg(feature = "spool")]
#[derive(serde::Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    kind: &'a RawValue,
    status: Option<u16>,
    answer: Option<String>,
    at: String,
}

fn serialize_raw<S: Serializer>(json: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_slice::<&RawValue>(json).map_err(S::Error::custom)?.serialize(serializer)
}

fn serialize_timestamp<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    timestamp(*at).serialize(serializer)
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letter = f.debug_struct("DeadLetter");
        letter.field("kind", &self.kind).field("status", &self.status).field("bytes", &self.event.len());
        letter.finish_non_exhaustive()
    }
}

/// Bounds of the dead-letter store.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadLetterLimits {
    pub events: usize,
    pub bytes: usize,
}

/// Dead letters in the order in which they came.
#[derive(Debug, Default)]
pub struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
}

impl DeadLetters {
    /// Adds a dead letter. Returns the oldest ones that had to make room, or the new one if it alone exceeds the bounds.
    pub fn push(&mut self, letter: DeadLetter, limits: DeadLetterLimits) -> Vec<DeadLetter> {
        if letter.event.len() > limits.bytes {
            return vec![letter];
        }
        self.bytes += letter.event.len();
        self.letters.push_back(letter);
        let mut evicted = Vec::new();
        while self.letters.len() > limits.events || self.bytes > limits.bytes {
            evicted.extend(self.pop());
        }
        evicted
    }

    pub fn pop(&mut self) -> Option<DeadLetter> {
        let oldest = self.letters.pop_front()?;
        self.bytes -= oldest.event.len();
        Some(oldest)
    }

    pub fn oldest(&self) -> Option<&DeadLetter> {
        self.letters.front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.iter()
    }

    pub fn into_vec(self) -> Vec<DeadLetter> {
        self.letters.into()
    }

    pub fn to_vec(&self) -> Vec<DeadLetter> {
        self.iter().cloned().collect()
    }
}

#[cfg(all(test, feature = "spool"))]
mod tests {
    use super::*;

    /// An earlier version wrote the file.
    #[test]
    fn a_kind_by_its_former_name_is_read() {
        let json = br#"{"event":{},"kind":"answer_cut_short","status":200,"answer":null,"at":"2026-01-01T00:00:00Z"}"#;
        let letter = DeadLetter::from_json(7, json).unwrap();
        assert_eq!((letter.kind, letter.seq()), (ErrorKind::TruncatedResponse, 7));
    }
}
