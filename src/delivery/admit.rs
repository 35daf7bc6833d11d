use super::ledger::DropReason;

/// Refuses what would make PostHog reject the whole batch that it travels in, as far as names tell. How deep an event is
/// nested is seen when it is encoded.
#[inline]
pub fn admit_names(event: &str, distinct_id: &str) -> Result<(), DropReason> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
