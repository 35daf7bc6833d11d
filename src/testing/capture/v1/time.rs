/// Whether this is a time by RFC 3339, in any zone. `humantime` knows UTC alone.
pub fn is_rfc3339(text: &str) -> bool {
    let local = match text.strip_suffix(['Z', 'z']) {
        Some(local) => Some(local),
        None => without_offset(text),
    };
    local.is_some_and(|local| humantime::parse_rfc3339(&format!("{local}Z")).is_ok())
}

fn without_offset(text: &str) -> Option<&str> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
    let two_digits = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten();
    (two_digits(hours)? < 24 && two_digits(minutes)? < 60).then_some(local)
}
