use serde_json::{Value, map, to_writer};

use super::{Budget, NotWritten, text};

/// Writes a value. Without recursion: what is open is kept in a list, so the deepest value that PostHog reads takes no
/// more of the stack than a flat one.
pub fn value(out: &mut Vec<u8>, value: &Value, budget: Budget) -> Result<(), NotWritten> {
    let mut open = Vec::new();
    let mut next = value;
    loop {
        match next {
            Value::Array(items) => {
                out.push(b'[');
                open.push(Rest::Items(items.iter()));
            }
            Value::Object(members) => {
                out.push(b'{');
                open.push(Rest::Members(members.iter()));
            }
            scalar => write_scalar(out, scalar, budget)?,
        }
        budget.admit_levels(open.len())?;
        budget.admit(out.len())?;
        next = loop {
            let Some(innermost) = open.last_mut() else { return Ok(()) };
            match innermost.next(out)? {
                Some(next) => break next,
                None => out.push(innermost.bracket()),
            }
            open.pop();
        }
    }
}

/// What is left of an array or an object that is open.
enum Rest<'a> {
    Items(std::slice::Iter<'a, Value>),
    Members(map::Iter<'a>),
}

impl<'a> Rest<'a> {
    /// Writes all that stands before the next value, and gives it.
    fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<&'a Value>, NotWritten> {
        let next = match self {
            Self::Items(items) => items.next().map(|item| (None, item)),
            Self::Members(members) => members.next().map(|(name, item)| (Some(name), item)),
        };
        let Some((name, item)) = next else { return Ok(None) };
        if !matches!(out.last(), Some(b'[' | b'{')) {
            out.push(b',');
        }
        if let Some(name) = name {
            text(out, name)?;
            out.push(b':');
        }
        Ok(Some(item))
    }

    fn bracket(&self) -> u8 {
        match self {
            Self::Items(_) => b']',
            Self::Members(_) => b'}',
        }
    }
}

#[inline]
fn write_scalar(out: &mut Vec<u8>, scalar: &Value, budget: Budget) -> Result<(), NotWritten> {
    match scalar {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => to_writer(out, number)?,
        Value::String(string) => {
            budget.admit(out.len() + string.len())?;
            text(out, string)?;
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

/// Whether a value is nested deeper than so many levels.
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    let mut rest = Vec::new();
    let mut next = Some((value, 0));
    while let Some((value, level)) = next {
        match value {
            Value::Array(_) | Value::Object(_) if level == levels => return true,
            Value::Array(items) => rest.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(members) => rest.extend(members.values().map(|item| (item, level + 1))),
            _ => {}
        }
        next = rest.pop();
    }
    false
}

/// Drops a value, however deep it is. Its own `Drop` calls itself for each level, which may not fit on the stack.
pub fn dismantle(value: Value) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(members) => rest.extend(members.into_iter().map(|(_, item)| item)),
            _ => {}
        }
    }
}
