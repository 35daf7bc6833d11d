use posthog_rs::Event;
use serde_json::Value;

use super::DropReason;

/// Refuses what would make PostHog reject the whole batch that it travels in.
pub(super) fn check(event: &Event) -> Result<(), DropReason> {
    if event.event_name().trim().is_empty() {
        return Err(DropReason::NoName);
    }
    if event.distinct_id().trim().is_empty() {
        return Err(DropReason::NoDistinctId);
    }
    Ok(())
}

/// About how many bytes the event will have on the wire, without encoding it: what bounds the queue's
/// memory until the encoder knows better.
pub(super) fn approximate_size(event: &Event) -> usize {
    let properties: usize = event.properties().iter().map(|(key, value)| key.len() + 4 + size(value)).sum();
    FRAME + event.event_name().len() + event.distinct_id().len() + properties
}

/// uuid, timestamp, the members' names, and the enrichment.
const FRAME: usize = 300;

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(key, item)| key.len() + 4 + size(item)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_blank_names_and_ids() {
        assert_eq!(check(&Event::new("signed_up", "user-1")), Ok(()));
        assert_eq!(check(&Event::new(" ", "user-1")), Err(DropReason::NoName));
        assert_eq!(check(&Event::new("signed_up", "\t")), Err(DropReason::NoDistinctId));
    }

    #[test]
    fn sees_a_large_value_however_deep() {
        let mut event = Event::new("signed_up", "user-1");
        event.insert_prop("a", serde_json::json!([{"b": ["x".repeat(100_000)]}])).unwrap();
        assert!((100_000..101_000).contains(&approximate_size(&event)));
    }
}
