use super::ledger::DropReason;

/// Refuses what would make PostHog reject the whole batch that it travels in, as far as names tell. How deep an event is
/// nested is seen when it is encoded.
#[inline]
pub fn admit_names(event: &str, distinct_id: &str) -> Result<(), DropReason> {
    if is_blank(event) {
        return Err(DropReason::NoName);
    }
    if is_blank(cut_id(distinct_id)) {
        return Err(DropReason::NoDistinctId);
    }
    Ok(())
}

/// As much of a distinct id as PostHog keeps: V0's servers cut a longer one, and V1 drops its event.
#[inline]
pub fn cut_id(distinct_id: &str) -> &str {
    const LONGEST: usize = 200;
    if distinct_id.len() <= LONGEST {
        return distinct_id;
    }
    // A character has four bytes at most.
    (LONGEST - 3..=LONGEST).rev().find_map(|end| distinct_id.get(..end)).unwrap_or_default()
}

/// Whether PostHog refuses to merge the person of this id with another one, because many services send such ids by mistake.
/// It takes the event, and only the project's page of
/// [ingestion warnings](https://posthog.com/docs/data/ingestion-warnings) tells. The list is that of PostHog's ingestion,
/// whose source calls these ids illegal.
pub fn is_unmergeable(distinct_id: &str) -> bool {
    const IN_ANY_CASE: [&str; 10] = [
        "anonymous",
        "distinct_id",
        "distinctid",
        "email",
        "false",
        "guest",
        "id",
        "not_authenticated",
        "true",
        "undefined",
    ];
    const AS_IT_STANDS: [&str; 6] = ["0", "NaN", "None", "[object Object]", "none", "null"];
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| distinct_id.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(distinct_id);
    AS_IT_STANDS.contains(&unquoted) || IN_ANY_CASE.iter().any(|id| id.eq_ignore_ascii_case(unquoted))
}

/// Whether capture V1 updates no person for this id, because it stands for nobody. The list is that of PostHog's capture
/// server, which has most of the above in it.
pub fn is_placeholder(distinct_id: &str) -> bool {
    const MORE: [&str; 5] =
        ["00000000-0000-0000-0000-000000000000", "anonymous-user", "backend", "system", "user"];
    is_unmergeable(distinct_id) || MORE.iter().any(|id| id.eq_ignore_ascii_case(distinct_id))
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
    fn ids_that_come_from_mistakes_are_unmergeable() {
        for id in
            ["anonymous", "Guest", "UNDEFINED", "null", "0", "[object Object]", "NaN", "'null'", "\"Id\""]
        {
            assert!(is_unmergeable(id), "{id}");
        }
        for id in ["user-1", "nan", "NULL", "00", "'null", "\"", "", "anonymous-abc123", "identity"] {
            assert!(!is_unmergeable(id), "{id}");
        }
    }

    #[test]
    fn ids_that_stand_for_nobody_are_placeholders() {
        for id in ["anonymous", "Backend", "00000000-0000-0000-0000-000000000000"] {
            assert!(is_placeholder(id), "{id}");
        }
        assert!(!is_placeholder("user-1"));
    }

    #[test]
    fn an_id_is_cut_at_200_bytes_between_characters() {
        for (id, kept) in [
            ("x".repeat(200), 200),
            ("x".repeat(201), 200),
            ("\u{1F994}".repeat(51), 200),
            (format!("x{}", "\u{1F994}".repeat(50)), 197),
            (format!("xx{}", "\u{1F994}".repeat(50)), 198),
            (format!("xxx{}", "\u{1F994}".repeat(50)), 199),
        ] {
            assert_eq!(cut_id(&id), &id[..kept], "{id}");
        }
        assert_eq!(admit_names("e", &format!("{}x", " ".repeat(200))), Err(DropReason::NoDistinctId));
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
