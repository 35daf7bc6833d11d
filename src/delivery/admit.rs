use posthog_rs::Event;
use serde_json::Value;

use super::DropReason;
use super::event::{AnyEvent, Kind};

/// Refuses what would make PostHog reject the whole batch that it travels in. For the others tells about how
/// many bytes the event will have on the wire, without encoding it: what bounds the queue's memory until the
/// encoder knows better.
pub(super) fn admit(event: &AnyEvent) -> Result<usize, DropReason> {
    match &event.0 {
        Kind::Sdk(event) => admit_sdk(event),
        Kind::Typed(event) => event.admitted().map(|bytes| FRAME + bytes),
    }
}

pub(super) fn admit_sdk(event: &Event) -> Result<usize, DropReason> {
    admit_names(event.event_name(), event.distinct_id())?;
    let frame = FRAME + event.event_name().len() + event.distinct_id().len();
    let size = event.properties().iter().fold(frame, |sum, (key, value)| {
        sum.saturating_add(key.len() + 4).saturating_add(size(value, DEEPEST))
    });
    if size < TOO_DEEP { Ok(size) } else { Err(DropReason::TooDeep) }
}

pub(super) fn admit_names(event: &str, distinct_id: &str) -> Result<(), DropReason> {
    let is_blank = |text: &str| text.chars().all(char::is_whitespace);
    if is_blank(event) {
        return Err(DropReason::NoName);
    }
    if is_blank(distinct_id) {
        return Err(DropReason::NoDistinctId);
    }
    Ok(())
}

/// uuid, timestamp, the members' names, and the enrichment.
const FRAME: usize = 300;

/// PostHog's JSON parser gives up at 128 levels, four of which are the batch's own.
pub(super) const DEEPEST: usize = 120;

/// No size: what is nested too deep counts as that much.
const TOO_DEEP: usize = usize::MAX / 2;

fn size(value: &Value, levels: usize) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(_) | Value::Object(_) if levels == 0 => TOO_DEEP,
        Value::Array(items) => {
            items.iter().fold(items.len(), |sum, item| sum.saturating_add(size(item, levels - 1)))
        }
        Value::Object(members) => members.iter().fold(0, |sum: usize, (key, item)| {
            sum.saturating_add(key.len() + 4).saturating_add(size(item, levels - 1))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_blank_names_and_ids() {
        assert!(admit_sdk(&Event::new("signed_up", "user-1")).is_ok());
        assert_eq!(admit_sdk(&Event::new(" ", "user-1")), Err(DropReason::NoName));
        assert_eq!(admit_sdk(&Event::new("signed_up", "\t")), Err(DropReason::NoDistinctId));
    }

    #[test]
    fn sees_a_large_value_however_deep() {
        let mut event = Event::new("signed_up", "user-1");
        event.insert_prop("a", serde_json::json!([{"b": ["x".repeat(100_000)]}])).unwrap();
        assert!((100_000..101_000).contains(&admit_sdk(&event).unwrap()));
    }

    #[test]
    fn refuses_what_is_nested_too_deep() {
        let innermost = || Value::Array(vec![Value::from([1]), Value::from([2]), Value::from([3])]);
        let nested = |levels: usize| (2..levels).fold(innermost(), |inner, _| Value::Array(vec![inner]));
        let with = |levels| {
            let mut event = Event::new("signed_up", "user-1");
            event.insert_prop("a", nested(levels)).unwrap();
            admit_sdk(&event).map(|_| ())
        };
        assert_eq!((with(DEEPEST), with(DEEPEST + 1)), (Ok(()), Err(DropReason::TooDeep)));
    }
}
