//! What capture V1 says of each event.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::Accepted;
use super::event_json::{Members, uuid_of};
use crate::rt::named;

/// PostHog's receipt for a batch that it did not refuse as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub accepted: Accepted,
    /// The events that are not simply stored, by their place in the batch. `None` by V0, which does not tell.
    pub verdicts: Option<Vec<(usize, EventVerdict)>>,
    /// How long to wait before events are sent again that are to be sent again.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
impl Receipt {
    /// V0's for a batch that it took.
    pub const TAKEN: Self =
        Self { accepted: Accepted { over_quota: false }, verdicts: None, retry_after: None };
}

impl From<Accepted> for Receipt {
    fn from(accepted: Accepted) -> Self {
        Self { accepted, ..Self::default() }
    }
}

/// What PostHog says of an event that it did not simply store.
///
/// | `result` | `details` | verdict | the event |
/// |---|---|---|---|
/// | `ok`, `warning` | | | delivered |
/// | `ok`, `warning` | any | `Warning` | delivered, and the warning is counted |
/// | `drop` | a quota | `OverQuota` | dropped as `over_quota` |
/// | `drop` | any other | `Dropped` | a dead letter |
/// | `retry` | | `Retry` | sent again, with those of its batch that share the verdict |
/// | any other | | `Warning` | delivered, as PostHog's own SDKs have it |
/// | none | | `Missing` | sent again once, and then delivered with a warning |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventVerdict {
    /// It is stored, with this remark.
    Warning(CaptureWarning),
    /// PostHog will never take it. The detail is PostHog's word.
    Dropped(String),
    /// The project is over a quota that the event counts for.
    OverQuota,
    /// It is not stored. PostHog asks to send it again.
    Retry,
    /// PostHog says nothing of it.
    Missing,
}

named! {
    /// A remark of PostHog's on an event that it stored.
    #[non_exhaustive]
    pub enum CaptureWarning {
        /// PostHog updates no person for the event: its distinct id is one that services send by mistake, or too many events
        /// share it.
        PersonProcessingDisabled = "person_processing_disabled",
        /// The answer had a verdict that this version does not know.
        UnknownVerdict = "unknown_verdict",
        /// The answer did not mention the event, twice.
        NoVerdict = "no_verdict",
        /// A remark that this version does not know.
        Other = "other",
    }
}

/// The details of a drop that speak of a quota.
const QUOTAS: [&str; 4] = [
    "billing_limit_exceeded",
    "exceptions_over_quota",
    "survey_responses_over_quota",
    "llm_events_over_quota",
];

/// The most that is kept of a detail.
const LONGEST_DETAIL: usize = 100;

/// Reads the verdicts on these events. `None` if the body is no answer of V1's, or if it knows none of them. It may know
/// none if the answer before it did not either.
pub fn read_verdicts(
    body: &[u8],
    events: &[Bytes],
    may_know_none: bool,
) -> Option<Vec<(usize, EventVerdict)>> {
    if are_all_ok(body, events) {
        return Some(Vec::new());
    }
    let Body { results: Members(results) } = serde_json::from_slice(body).ok()?;
    // The server answers in the order of the batch, mostly.
    let in_order = |at: usize, uuid: &str| {
        events.get(at).and_then(|event| uuid_of(event)).is_some_and(|own| own == uuid.as_bytes())
    };
    let is_in_order = results.len() == events.len()
        && results.iter().enumerate().all(|(at, (Text(uuid), _))| in_order(at, uuid));
    if is_in_order {
        let verdicts = results.iter().enumerate();
        return Some(verdicts.filter_map(|(at, (_, told))| Some((at, told.verdict()?))).collect());
    }
    let by_uuid: HashMap<&[u8], &Told<'_>> =
        results.iter().map(|(Text(uuid), told)| (uuid.as_bytes(), told)).collect();
    let mut is_known = false;
    let verdict = |(at, event): (usize, &Bytes)| {
        let told = uuid_of(event).and_then(|uuid| by_uuid.get(uuid));
        is_known |= told.is_some();
        Some((at, told.map_or(Some(EventVerdict::Missing), |told| told.verdict())?))
    };
    let verdicts = events.iter().enumerate().filter_map(verdict).collect();
    (is_known || may_know_none).then_some(verdicts)
}

/// Whether the answer is the usual one, as PostHog writes it: each event in its order, and stored. It needs no parser.
fn are_all_ok(body: &[u8], events: &[Bytes]) -> bool {
    let mut rest = body;
    let mut before: &[u8] = br#"{"results":{""#;
    for event in events {
        let (Some(uuid), Some(after)) = (uuid_of(event), rest.strip_prefix(before)) else { return false };
        let Some(after) =
            after.strip_prefix(uuid).and_then(|after| after.strip_prefix(br#"":{"result":"ok"}"#))
        else {
            return false;
        };
        (rest, before) = (after, br#",""#);
    }
    rest == b"}}"
}

/// What the answer says of one event.
#[derive(Debug, serde::Deserialize)]
struct Told<'a> {
    #[serde(borrow, default)]
    result: Option<Text<'a>>,
    #[serde(borrow, default)]
    details: Option<Text<'a>>,
}

impl Told<'_> {
    fn verdict(&self) -> Option<EventVerdict> {
        let details = self.details.as_ref().map(|Text(details)| details.as_ref());
        Some(match self.result.as_ref().map(|Text(result)| result.as_ref()) {
            Some("ok" | "warning") => EventVerdict::Warning(match details? {
                "person_processing_disabled" => CaptureWarning::PersonProcessingDisabled,
                _ => CaptureWarning::Other,
            }),
            Some("drop") if details.is_some_and(|details| QUOTAS.contains(&details)) => {
                EventVerdict::OverQuota
            }
            Some("drop") => {
                let details = details.unwrap_or("drop").chars().filter(|c| !c.is_control());
                EventVerdict::Dropped(details.take(LONGEST_DETAIL).collect())
            }
            Some("retry") => EventVerdict::Retry,
            Some(_) => EventVerdict::Warning(CaptureWarning::UnknownVerdict),
            None => EventVerdict::Missing,
        })
    }
}

/// The verdicts as they stand, by uuid.
#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    results: Members<Text<'a>, Told<'a>>,
}

/// Borrowed where it has no escapes. serde borrows no `Cow` in an `Option`.
#[derive(Debug, serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use CaptureWarning::{NoVerdict, Other, PersonProcessingDisabled, UnknownVerdict};
    use EventVerdict::{Dropped, Missing, OverQuota, Retry, Warning};

    fn uuid(n: usize) -> String {
        format!("00000000-0000-7000-8000-{n:012}")
    }

    fn events(n: usize) -> Vec<Bytes> {
        (0..n).map(|n| format!(r#"{{"uuid":"{}","event":"e"}}"#, uuid(n)).into()).collect()
    }

    #[test]
    fn every_verdict_has_one_meaning() {
        for (told, verdict) in [
            (r#"{"result":"ok"}"#, None),
            (r#"{"result":"ok","details":null}"#, None),
            (r#"{"result":"warning"}"#, None),
            (
                r#"{"result":"ok","details":"person_processing_disabled"}"#,
                Some(Warning(PersonProcessingDisabled)),
            ),
            (r#"{"result":"warning","details":"clock_is_odd"}"#, Some(Warning(Other))),
            (r#"{"result":"drop","details":"billing_limit_exceeded"}"#, Some(OverQuota)),
            (r#"{"result":"drop","details":"llm_events_over_quota"}"#, Some(OverQuota)),
            (r#"{"result":"drop","details":"event_too_big"}"#, Some(Dropped("event_too_big".into()))),
            (r#"{"result":"drop"}"#, Some(Dropped("drop".into()))),
            (r#"{"result":"retry","details":"not_persisted"}"#, Some(Retry)),
            (r#"{"result":"limited"}"#, Some(Warning(UnknownVerdict))),
            (r#"{"result":null}"#, Some(Missing)),
            (r#"{}"#, Some(Missing)),
        ] {
            let body = format!(r#"{{"results":{{"{}":{told}}}}}"#, uuid(0));
            let expected: Vec<_> = verdict.into_iter().map(|verdict| (0, verdict)).collect();
            assert_eq!(read_verdicts(body.as_bytes(), &events(1), false), Some(expected), "{told}");
        }
        assert_eq!(NoVerdict.as_str(), "no_verdict");
    }

    #[test]
    fn the_usual_answer_is_read_without_a_parser() {
        let of = |results: &[(usize, &str)]| {
            let results: Vec<_> =
                results.iter().map(|(n, told)| format!(r#""{}":{told}"#, uuid(*n))).collect();
            format!(r#"{{"results":{{{}}}}}"#, results.join(","))
        };
        let ok = r#"{"result":"ok"}"#;
        let all = of(&[(0, ok), (1, ok)]);
        assert!(are_all_ok(all.as_bytes(), &events(2)));
        for other in [
            of(&[(0, ok)]),
            of(&[(1, ok), (0, ok)]),
            of(&[(0, ok), (1, r#"{"result":"okay"}"#)]),
            of(&[(0, ok), (1, r#"{"result":"drop"}"#)]),
            of(&[(0, ok), (1, ok), (2, ok)]),
            format!("{all} "),
            String::new(),
        ] {
            assert!(!are_all_ok(other.as_bytes(), &events(2)), "{other}");
        }
        assert_eq!(read_verdicts(of(&[(1, ok), (0, ok)]).as_bytes(), &events(2), false), Some(vec![]));
    }

    #[test]
    fn verdicts_are_found_by_uuid_in_any_order() {
        let body = format!(
            r#"{{"status":1,"results":{{"{}":{{"result":"retry","new":[]}},"elsewhere":{{"result":"drop"}},"{}":{{"result":"ok"}}}}}}"#,
            uuid(2),
            uuid(0),
        );
        assert_eq!(read_verdicts(body.as_bytes(), &events(3), false), Some(vec![(1, Missing), (2, Retry)]));
    }

    #[test]
    fn another_answer_has_no_verdicts() {
        for body in [
            "",
            "1",
            r#"{"status":"Ok"}"#,
            r#"{"results":[]}"#,
            r#"{"results":{}}"#,
            r#"{"results":{"elsewhere":{"result":"ok"}}}"#,
            r#"{"results":{"00000000-0000-7000-8000-000000000000":7}}"#,
        ] {
            assert_eq!(read_verdicts(body.as_bytes(), &events(1), false), None, "{body}");
        }
    }

    #[test]
    fn an_answer_may_know_no_event_that_was_passed_over_before() {
        let none = br#"{"results":{}}"#;
        assert_eq!(read_verdicts(none, &events(2), true), Some(vec![(0, Missing), (1, Missing)]));
        assert_eq!(read_verdicts(b"{}", &events(2), true), None);
    }

    #[test]
    fn a_foreign_detail_is_cut_and_has_no_control_characters() {
        let body = format!(
            r#"{{"results":{{"{}":{{"result":"drop","details":"a\u0000{}"}}}}}}"#,
            uuid(0),
            "x".repeat(1_000)
        );
        let detail = format!("a{}", "x".repeat(LONGEST_DETAIL - 1));
        assert_eq!(read_verdicts(body.as_bytes(), &events(1), false), Some(vec![(0, Dropped(detail))]));
    }
}
