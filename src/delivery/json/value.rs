use serde_json::{Value, map, to_writer};

use super::{Budget, NotWritten, text};

/// Writes a value.
#[inline]
pub fn value(out: &mut Vec<u8>, value: &Value, budget: Budget) -> Result<(), NotWritten> {
    if is_open(value) { open_value(out, value, budget) } else { write_scalar(out, value, budget) }
}

/// Writes an array or an object. Without recursion: what is open is kept in a list, so the deepest value that PostHog reads
/// takes no more of the stack than a flat one. The list is for what is nested; one level asks for no memory.
fn open_value(out: &mut Vec<u8>, value: &Value, budget: Budget) -> Result<(), NotWritten> {
    let mut outer = Vec::new();
    let mut innermost = None;
    let mut next = value;
    loop {
        let opened = match next {
            Value::Array(items) => Some((b'[', Rest::Items(items.iter()))),
            Value::Object(members) => Some((b'{', Rest::Members(members.iter()))),
            scalar => {
                write_scalar(out, scalar, budget)?;
                None
            }
        };
        if let Some((bracket, rest)) = opened {
            budget.admit_levels(outer.len() + 1 + usize::from(innermost.is_some()))?;
            out.push(bracket);
            outer.extend(innermost.replace(rest));
        }
        budget.admit(out.len())?;
        next = loop {
            let Some(rest) = &mut innermost else { return Ok(()) };
            match rest.next(out)? {
                Some(next) => break next,
                None => out.push(rest.bracket()),
            }
            innermost = outer.pop();
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
#[inline]
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    // Nearly all values hold scalars alone.
    let is_flat = match value {
        Value::Array(items) => !items.iter().any(is_open),
        Value::Object(members) => !members.values().any(is_open),
        _ => return false,
    };
    levels == 0 || (!is_flat && is_nested_deeper(value, levels))
}

fn is_nested_deeper(value: &Value, levels: usize) -> bool {
    let mut rest = vec![(value, 0)];
    while let Some((value, level)) = rest.pop() {
        match value {
            _ if level == levels && is_open(value) => return true,
            Value::Array(items) => rest.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(members) => rest.extend(members.values().map(|item| (item, level + 1))),
            _ => {}
        }
    }
    false
}

fn is_open(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
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
