use posthog_rs::Event;
use serde_json::Value;

use super::DropReason;

/// Refuses what would make PostHog reject the whole batch that it travels in. For the others tells about how
/// many bytes the event will have on the wire, without encoding it: what bounds the queue's memory until the
/// encoder knows better.
pub(super) fn admit(event: &Event) -> Result<usize, DropReason> {
    if event.event_name().trim().is_empty() {
        return Err(DropReason::NoName);
    }
    if event.distinct_id().trim().is_empty() {
        return Err(DropReason::NoDistinctId);
    }
    let property = |(key, value): (&String, &Value)| Some(key.len() + 4 + size(value, DEEPEST)?);
    let properties: usize =
        event.properties().iter().map(property).sum::<Option<_>>().ok_or(DropReason::TooDeep)?;
    Ok(FRAME + event.event_name().len() + event.distinct_id().len() + properties)
}

/// uuid, timestamp, the members' names, and the enrichment.
const FRAME: usize = 300;

/// PostHog's JSON parser gives up at 128 levels, four of which are the batch's own.
const DEEPEST: usize = 120;

/// `None` if the value is nested deeper than `levels`.
fn size(value: &Value, levels: usize) -> Option<usize> {
    match value {
        Value::Null | Value::Bool(_) => Some(5),
        Value::Number(_) => Some(8),
        Value::String(text) => Some(text.len() + 2),
        Value::Array(items) => {
            let levels = levels.checked_sub(1)?;
            items.iter().map(|item| Some(size(item, levels)? + 1)).sum()
        }
        Value::Object(members) => {
            let levels = levels.checked_sub(1)?;
            members.iter().map(|(key, item)| Some(key.len() + 4 + size(item, levels)?)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_blank_names_and_ids() {
        assert!(admit(&Event::new("signed_up", "user-1")).is_ok());
        assert_eq!(admit(&Event::new(" ", "user-1")), Err(DropReason::NoName));
        assert_eq!(admit(&Event::new("signed_up", "\t")), Err(DropReason::NoDistinctId));
    }

    #[test]
    fn sees_a_large_value_however_deep() {
        let mut event = Event::new("signed_up", "user-1");
        event.insert_prop("a", serde_json::json!([{"b": ["x".repeat(100_000)]}])).unwrap();
        assert!((100_000..101_000).contains(&admit(&event).unwrap()));
    }

    #[test]
    fn refuses_what_is_nested_too_deep() {
        let nested = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let with = |levels| {
            let mut event = Event::new("signed_up", "user-1");
            event.insert_prop("a", nested(levels)).unwrap();
            admit(&event).map(|_| ())
        };
        assert_eq!((with(DEEPEST), with(DEEPEST + 1)), (Ok(()), Err(DropReason::TooDeep)));
    }
}
