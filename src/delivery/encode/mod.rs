use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use posthog_rs::Event;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::admit::{admit_names, cut_id};
use super::enrichment::{Enrichment, Own};
use super::event::{AnyEvent, Kind, discard_deep, is_deep};
use super::hooks::Hooks;
use super::json::{self, Budget, DEEPEST, NotWritten, is_deeper};
use super::ledger::DropReason;
use super::scratch::Scratch;
use super::typed_event::TypedEvent;
use crate::api::event_json::{LIFTED, lifted};

/// Makes the wire JSON of events: `{uuid, event, distinct_id, properties, timestamp}` with the constant enrichment, in
/// one pass, on the thread that captures. The properties that capture V1 wants elsewhere come last, as
/// [`event_json`](crate::api::event_json) explains.
#[derive(Debug)]
pub struct Encoder {
    hooks: Hooks,
    enrichment: Enrichment,
    budget: Budget,
}

/// An event's bytes.
#[derive(Debug, PartialEq)]
pub struct Encoded {
    pub json: Bytes,
    /// Whether its distinct id was too long.
    pub is_id_cut: bool,
}

impl Encoder {
    /// One that gives up on an event of more than so many bytes.
    pub fn new(hooks: Hooks, is_server: bool, geoip: bool, most_bytes: usize) -> Self {
        let enrichment = Enrichment::new(is_server, geoip);
        Self { hooks, enrichment, budget: Budget::new(DEEPEST, most_bytes) }
    }

    pub fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// The event's bytes, or why there are none. `captured_at` is its time unless it has its own.
    pub fn encode(&self, event: AnyEvent, captured_at: SystemTime) -> Result<Encoded, DropReason> {
        match event.0 {
            Kind::Typed(event) if self.hooks.is_empty() => {
                let is_id_cut = event.is_id_cut();
                let json = Scratch::with(|scratch| self.write_typed(scratch, &event, captured_at))?;
                Ok(Encoded { json, is_id_cut })
            }
            Kind::Typed(event) => {
                self.budget.admit(event.json().len())?;
                let at = event.timestamp().unwrap_or(captured_at);
                let is_id_cut = event.is_id_cut();
                let encoded = self.encode_sdk(event.into_event().ok_or(DropReason::NotEncodable)?, at)?;
                Ok(Encoded { is_id_cut: is_id_cut || encoded.is_id_cut, ..encoded })
            }
            Kind::Sdk(event) => self.encode_sdk(event, captured_at),
        }
    }

    fn encode_sdk(&self, mut event: Event, captured_at: SystemTime) -> Result<Encoded, DropReason> {
        if !self.hooks.is_empty() {
            // A hook may drop what it gets, which calls itself for each level.
            if is_deep(&event) {
                discard_deep(event);
                return Err(DropReason::TooDeep);
            }
            event = self.hooks.run(event)?;
            // What comes out of the hooks is admitted anew.
            if let Err(reason) = admit_names(event.event_name(), event.distinct_id()) {
                AnyEvent::from(event).discard();
                return Err(reason);
            }
        }
        let distinct_id = cut_id(event.distinct_id());
        let is_id_cut = distinct_id.len() < event.distinct_id().len();
        let written = Scratch::with(|scratch| self.write_sdk(scratch, &event, distinct_id, captured_at));
        if matches!(written, Err(NotWritten::TooDeep | NotWritten::TooLarge)) {
            discard_deep(event);
        }
        Ok(Encoded { json: written?, is_id_cut })
    }

    fn write_typed(
        &self,
        scratch: &mut Scratch,
        event: &TypedEvent,
        captured_at: SystemTime,
    ) -> Result<Bytes, DropReason> {
        self.budget.admit(event.json().len() + event.lifted().len())?;
        let out = &mut scratch.json;
        out.clear();
        out.extend_from_slice(b"{\"uuid\":\"");
        out.extend_from_slice(event.uuid().hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(event.json());
        self.enrichment.write(out, event.own());
        out.extend_from_slice(event.lifted());
        json::end(out, "}");
        out.extend_from_slice(b",\"timestamp\":\"");
        scratch.timestamps.write(out, event.timestamp().unwrap_or(captured_at));
        out.extend_from_slice(b"\"}");
        Ok(scratch.finish())
    }

    fn write_sdk(
        &self,
        scratch: &mut Scratch,
        event: &Event,
        distinct_id: &str,
        captured_at: SystemTime,
    ) -> Result<Bytes, NotWritten> {
        let Scratch { json: out, parts, timestamps, .. } = scratch;
        self.budget.admit(event.event_name().len() + distinct_id.len())?;
        parts.clear();
        event.serialize(&mut *parts)?;
        out.clear();
        out.extend_from_slice(b"{\"uuid\":");
        out.extend_from_slice(&parts.uuid);
        out.extend_from_slice(b",\"event\":");
        json::text(out, event.event_name())?;
        out.extend_from_slice(b",\"distinct_id\":");
        json::text(out, distinct_id)?;
        out.extend_from_slice(b",\"properties\":{");
        let has_groups = parts.groups != b"{}";
        let (mut own, mut last) = (Own::default(), [None; LIFTED.len()]);
        in_order(event.properties(), |name, value| {
            if has_groups && name == "$groups" {
                // It is left out, and dropped with the event.
                return if is_deeper(value, DEEPEST) { Err(NotWritten::TooDeep) } else { Ok(()) };
            }
            if name.starts_with('$') {
                if let Some(at) = lifted(name) {
                    last[at] = Some(value);
                    return Ok(());
                }
                own.add(name);
            }
            json::member(out, name, value, self.budget)
        })?;
        self.enrichment.write(out, own);
        if has_groups {
            out.extend_from_slice(b"\"$groups\":");
            out.extend_from_slice(&parts.groups);
            out.push(b',');
        }
        for (lifted, value) in LIFTED.iter().zip(last) {
            if let Some(value) = value {
                json::member(out, lifted.property, value, self.budget)?;
            }
        }
        json::end(out, "}");
        out.extend_from_slice(b",\"timestamp\":");
        match parts.timestamp.as_slice() {
            // The event's own, which the SDK keeps in UTC without a zone.
            [own @ .., b'"'] => {
                out.extend_from_slice(own);
                out.extend_from_slice(b"Z\"}");
            }
            _ => {
                out.push(b'"');
                timestamps.write(out, captured_at);
                out.extend_from_slice(b"\"}");
            }
        }
        self.budget.admit(out.len())?;
        Ok(scratch.finish())
    }
}

/// Calls for each property, in the same order for all events: what repeats is what gzip finds.
fn in_order<'a, E>(
    properties: &'a HashMap<String, Value>,
    mut each: impl FnMut(&'a str, &'a Value) -> Result<(), E>,
) -> Result<(), E> {
    const NONE: (&str, &Value) = ("", &Value::Null);
    // Most events have so few that a list of them needs no memory of its own.
    let (mut few, mut many) = ([NONE; 16], Vec::new());
    let all = match few.get_mut(..properties.len()) {
        Some(few) => few,
        None => {
            many.resize(properties.len(), NONE);
            &mut many[..]
        }
    };
    for (place, (name, value)) in all.iter_mut().zip(properties) {
        *place = (name, value);
    }
    all.sort_unstable_by_key(|(name, _)| (name.len(), *name));
    all.iter().try_for_each(|(name, value)| each(name, value))
}

#[cfg(test)]
mod tests;
