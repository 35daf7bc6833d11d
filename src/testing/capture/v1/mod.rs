//! Capture by V1: `POST /i/v1/analytics/events`. Errors are JSON, and each event has a verdict.

mod event;
mod headers;
mod time;

use std::collections::HashSet;

use serde::{Serialize, Serializer};
use serde_json::json;
use uuid::Uuid;

use super::super::reply::Answer;
use super::super::request::Request;
use super::super::rules::{Decision, Effect, Rules};
use super::{Pick, Undecodable, Verdict};
use event::{Batch, Event};

/// The capture server's `capture_v1_max_compressed_body_bytes`.
pub const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// The capture server's `capture_v1_max_decompressed_body_bytes`.
pub const DECOMPRESSED_LIMIT: usize = 50 * 1024 * 1024;

pub fn judge(rules: &Rules, request: &Request, scripted: &[(Pick, Verdict)]) -> Result<Decision, Answer> {
    match request.method.as_str() {
        "POST" => capture(rules, request, scripted),
        "OPTIONS" => Ok(Answer::empty(200).into()),
        _ => Err(Answer::empty(405)),
    }
}

/// An error as V1 sends it.
pub fn error(status: u16, tag: &str, description: impl Into<String>) -> Answer {
    let uri = match tag {
        "billing_limit_exceeded" => "https://posthog.com/docs/billing/limits",
        _ => "https://posthog.com/docs/api",
    };
    let body = json!({"error": tag, "error_description": description.into(), "error_uri": uri});
    Answer::json(status, body.to_string())
}

pub fn too_large() -> Answer {
    error(413, "payload_too_large", "payload too large")
}

fn capture(rules: &Rules, request: &Request, scripted: &[(Pick, Verdict)]) -> Result<Decision, Answer> {
    let token = headers::check(request)?;
    if rules.revoked.contains(token) {
        return Err(error(401, "invalid_api_token", "The provided API token is not valid."));
    }
    match &request.undecodable {
        None => {}
        Some(Undecodable::TooLarge) => return Err(too_large()),
        Some(Undecodable::Broken(_)) => {
            return Err(error(400, "request_decoding_error", "Failed to decode request body."));
        }
    }
    let events = parse(&request.body)?;
    let uuids = uuids(&events)?;
    if rules.over_quota {
        return Err(error(402, "billing_limit_exceeded", "Billing quota exceeded."));
    }

    let verdict = |(position, (event, uuid)): (usize, (&Event, &Uuid))| {
        let verdict = match scripted
            .iter()
            .find(|(pick, _)| pick.includes(position, &event.event, event.uuid.trim()))
        {
            Some((_, verdict)) => verdict.clone(),
            None if rules.rejected_names.contains(&event.event) => Verdict::new("drop").details("rejected"),
            None => event.verdict(),
        };
        (*uuid, verdict)
    };
    let verdicts: Vec<_> = events.iter().zip(&uuids).enumerate().map(verdict).collect();
    Ok(decision(verdicts))
}

fn parse(body: &[u8]) -> Result<Vec<Event<'_>>, Answer> {
    if body.is_empty() {
        return Err(error(400, "empty_body", "request body is empty"));
    }
    let batch: Batch<'_> = serde_json::from_slice(body)
        .map_err(|_| error(400, "request_parsing_error", "Failed to parse request body."))?;
    if batch.batch.is_empty() {
        return Err(error(400, "empty_batch", "request batch is empty"));
    }
    if !time::is_rfc3339(&batch.created_at) {
        let reason = format!("invalid batch: created_at is not valid RFC 3339: {}", batch.created_at);
        return Err(error(400, "invalid_batch", reason));
    }
    Ok(batch.batch)
}

fn uuids(events: &[Event]) -> Result<Vec<Uuid>, Answer> {
    let mut seen = HashSet::with_capacity(events.len());
    let uuid = |event: &Event| {
        let text = event.uuid.trim();
        if text.is_empty() {
            return Err(error(400, "missing_event_uuid", "event submitted without a uuid"));
        }
        let Ok(uuid) = Uuid::try_parse(text) else {
            return Err(error(400, "invalid_event_uuid", format!("invalid event uuid: {text}")));
        };
        if !seen.insert(uuid) {
            return Err(error(400, "duplicate_event_uuid", format!("duplicate event uuid: {text}")));
        }
        Ok(uuid)
    };
    events.iter().map(uuid).collect()
}

fn decision(verdicts: Vec<(Uuid, Verdict)>) -> Decision {
    let stored = verdicts.iter().enumerate().filter(|(_, (_, verdict))| verdict.stores());
    let accepted = stored.map(|(position, (uuid, _))| (position, Some(*uuid))).collect();
    let retry = verdicts.iter().any(|(_, verdict)| verdict.is_retry());
    let body = serde_json::to_vec(&Results { results: verdicts }).expect("JSON of strings");
    let mut answer = Answer::json(200, body);
    if retry {
        answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
    }
    Decision { answer, effect: Effect { accepted, ..Effect::default() } }
}

#[derive(Serialize)]
struct Results {
    #[serde(serialize_with = "in_order")]
    results: Vec<(Uuid, Verdict)>,
}

fn in_order<S: Serializer>(results: &[(Uuid, Verdict)], serializer: S) -> Result<S::Ok, S::Error> {
    let told = results.iter().filter(|(_, verdict)| !verdict.is_missing());
    serializer.collect_map(told.map(|(uuid, verdict)| (uuid.to_string(), verdict)))
}
