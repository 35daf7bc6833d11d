use serde_json::Value;

use super::DropReason;
use super::event::{AnyEvent, Kind};

/// Refuses what would make PostHog reject the whole batch that it travels in, as far as a look at its names
/// tells; how deep it is nested is seen when it is encoded. Tells about how many bytes the event will have on the
/// wire, if that is known already.
pub(super) fn admit(event: &AnyEvent) -> Result<Option<usize>, DropReason> {
    match &event.0 {
        Kind::Sdk(event) => admit_names(event.event_name(), event.distinct_id()).map(|()| None),
        Kind::Typed(event) => event.admitted().map(|bytes| Some(FRAME + bytes)),
    }
}

/// About how many bytes the event will have on the wire, without encoding it.
#[cold]
pub(super) fn measure(event: &AnyEvent) -> usize {
    match &event.0 {
        Kind::Sdk(event) => {
            event.properties().iter().fold(FRAME, |sum, (key, value)| sum + key.len() + size(value, 0))
        }
        Kind::Typed(event) => FRAME + event.json().len(),
    }
}

/// What lies deeper than an event may be nested is not looked at.
fn size(value: &Value, level: usize) -> usize {
    match value {
        Value::String(text) => text.len() + 4,
        Value::Array(items) if level < DEEPEST => {
            items.iter().fold(4, |sum, item| sum + size(item, level + 1))
        }
        Value::Object(members) if level < DEEPEST => {
            members.iter().fold(4, |sum, (key, item)| sum + key.len() + size(item, level + 1))
        }
        _ => 8,
    }
}

#[inline]
pub(super) fn admit_names(event: &str, distinct_id: &str) -> Result<(), DropReason> {
    if is_blank(event) {
        return Err(DropReason::NoName);
    }
    if is_blank(distinct_id) {
        return Err(DropReason::NoDistinctId);
    }
    Ok(())
}

#[inline]
fn is_blank(text: &str) -> bool {
    #[cold]
    fn is_white(text: &str) -> bool {
        text.chars().all(char::is_whitespace)
    }
    !text.as_bytes().first().is_some_and(u8::is_ascii_graphic) && is_white(text)
}

/// uuid, timestamp, the members' names, and the enrichment.
const FRAME: usize = 300;

/// PostHog's JSON parser gives up at 128 levels, four of which are the batch's own.
pub(super) const DEEPEST: usize = 120;

#[cfg(test)]
mod tests {
    use posthog_rs::Event;

    use super::*;

    #[test]
    fn sees_a_large_value_however_deep() {
        let mut event = Event::new("signed_up", "user-1");
        event.insert_prop("a", serde_json::json!([{"b": ["x".repeat(100_000)]}])).unwrap();
        assert!((100_000..101_000).contains(&measure(&event.into())));
    }

    #[test]
    fn refuses_blank_names_and_ids() {
        assert_eq!(admit_names("signed_up", "user-1"), Ok(()));
        assert_eq!(admit_names("\u{3000}é", " 1"), Ok(()));
        for blank in ["", " ", "\t\n", "\u{3000}"] {
            assert_eq!(admit_names(blank, "user-1"), Err(DropReason::NoName));
            assert_eq!(admit_names("signed_up", blank), Err(DropReason::NoDistinctId));
        }
    }
}
