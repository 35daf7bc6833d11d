use std::ops::{Range, RangeFull};

use serde::Serialize;

/// What V1 says of one event, for [`Reply::verdict`](super::super::Reply::verdict).
///
/// PostHog stores an event unless the result is `drop` or `retry`, and so does this server.
///
/// ```
/// use posthog_health::testing::Verdict;
///
/// let dropped = Verdict::new("drop").details("event_too_big");
/// let unheard_of = Verdict::new("postponed");
/// let forgotten = Verdict::missing();
/// ```
#[derive(Clone, Debug, Serialize)]
#[must_use = "a verdict does nothing until a reply has it"]
pub struct Verdict {
    /// `None` leaves the event out of `results`.
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// Which events of a batch a [`Verdict`] is for: those of a name, the one with a uuid (`"signed up"`,
/// `"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`), the one at a position (`0`), those in a range (`0..10`), or all (`..`).
#[derive(Clone, Debug)]
pub struct Pick(Picked);

#[derive(Clone, Debug)]
enum Picked {
    Named(String),
    At(Range<usize>),
    All,
}

impl Verdict {
    /// Any result, known to PostHog or not.
    pub fn new(result: impl Into<String>) -> Self {
        Self { result: Some(result.into()), details: None }
    }

    /// Leaves the event out of the answer's `results`, though it is stored.
    pub fn missing() -> Self {
        Self { result: None, details: None }
    }

    /// Sets the details.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.result.is_none()
    }

    pub(crate) fn is_retry(&self) -> bool {
        self.result.as_deref() == Some("retry")
    }

    pub(crate) fn stores(&self) -> bool {
        !matches!(self.result.as_deref(), Some("drop" | "retry"))
    }
}

impl Pick {
    /// Whether the event at this position, with this name and uuid, is meant.
    pub(crate) fn includes(&self, position: usize, name: &str, uuid: &str) -> bool {
        match &self.0 {
            Picked::Named(known) => known == name || known.eq_ignore_ascii_case(uuid),
            Picked::At(range) => range.contains(&position),
            Picked::All => true,
        }
    }
}

impl From<&str> for Pick {
    fn from(name_or_uuid: &str) -> Self {
        Self(Picked::Named(name_or_uuid.to_owned()))
    }
}

impl From<usize> for Pick {
    fn from(position: usize) -> Self {
        Self(Picked::At(position..position + 1))
    }
}

impl From<Range<usize>> for Pick {
    fn from(positions: Range<usize>) -> Self {
        Self(Picked::At(positions))
    }
}

impl From<RangeFull> for Pick {
    fn from(_: RangeFull) -> Self {
        Self(Picked::All)
    }
}
