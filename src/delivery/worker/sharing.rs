//! Which events share a request.

use std::collections::HashMap;

use crate::api::event_json::{is_ai, uuid_of};
use crate::api::is_large_ai;
use crate::delivery::queue::QueuedEvent;

/// Divides events that were taken together into requests: the number of the request of each, or `None` if one serves all.
///
/// An AI event that is too large for `/batch/` goes alone. Where requests `may_take_v1`, other AI events go apart from the rest,
/// and no uuid stands twice in a request, because V1 refuses the whole batch then.
pub fn requests<'a>(events: &'a [QueuedEvent], may_take_v1: bool) -> Option<Vec<usize>> {
    let is_apart = |event: &QueuedEvent| (may_take_v1 && is_ai(&event.json)) || is_large_ai(&event.json);
    if !events.iter().any(is_apart) && (!may_take_v1 || are_distinct(events)) {
        return None;
    }
    let mut by_uuid: HashMap<&'a [u8], usize> = HashMap::new();
    let mut numbers: HashMap<(Kind, usize), usize> = HashMap::new();
    let number = |(at, event): (usize, &'a QueuedEvent)| {
        let kind = match event {
            event if is_large_ai(&event.json) => Kind::Alone(at),
            event if may_take_v1 && is_ai(&event.json) => Kind::Ai,
            _ => Kind::Any,
        };
        let copy = uuid_of(&event.json).map_or(0, |uuid| {
            let seen = by_uuid.entry(uuid).or_default();
            *seen += 1;
            *seen - 1
        });
        let next = numbers.len();
        *numbers.entry((kind, copy)).or_insert(next)
    };
    Some(events.iter().enumerate().map(number).collect())
}

#[derive(PartialEq, Eq, Hash)]
enum Kind {
    Any,
    Ai,
    Alone(usize),
}

/// Whether no uuid stands twice. Their last characters are random, so they tell, mostly.
fn are_distinct(events: &[QueuedEvent]) -> bool {
    let uuids = || events.iter().filter_map(|event| uuid_of(&event.json));
    let last = |uuid: &[u8]| uuid.last_chunk().copied().map_or(0, u64::from_ne_bytes);
    let mut tails: Vec<_> = uuids().map(last).collect();
    tails.sort_unstable();
    tails.is_sorted_by(|one, next| one < next) || {
        let mut sorted: Vec<_> = uuids().collect();
        sorted.sort_unstable();
        sorted.is_sorted_by(|one, next| one < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(of: &[(u64, &str)]) -> Vec<QueuedEvent> {
        let json = |(uuid, name): &(u64, &str)| {
            format!(r#"{{"uuid":"00000000-0000-7000-8000-{uuid:012}","event":"{name}","distinct_id":"x"}}"#)
        };
        of.iter().map(|event| QueuedEvent::new(json(event).into(), 0, 0)).collect()
    }

    #[test]
    fn events_share_a_request_but_for_ai_and_what_has_the_same_uuid() {
        let large = format!("$ai_span{}", "x".repeat(900_000));
        for (of, may_take_v1, expected) in [
            (&[(1, "a"), (2, "b"), (3, "c")][..], true, None),
            (&[(3, "a"), (1, "b"), (2, "c")], true, None),
            (&[(1, "a"), (2, "b"), (1, "c"), (3, "d"), (1, "e")], true, Some(vec![0, 0, 1, 0, 2])),
            (&[(1, "$ai_span"), (2, "b"), (3, "$ai_metric"), (4, "$ai")], true, Some(vec![0, 1, 0, 1])),
            (&[(1, "$ai_span"), (2, "b")], false, None),
            (&[(1, "a"), (1, "b")], false, None),
            (&[(1, "$ai_span"), (2, &large), (3, "b"), (4, &large)], false, Some(vec![0, 1, 0, 2])),
            (&[(1, "b"), (1, "$ai_span")], true, Some(vec![0, 1])),
        ] {
            assert_eq!(requests(&events(of), may_take_v1), expected, "{may_take_v1}");
        }
    }
}
