//! Capture by V0: `POST /batch/`, and `/e/` and its like. Errors are plain text, and one bad event costs the batch.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use super::super::reply::Answer;
use super::super::request::{AI_BATCH, Request};
use super::super::rules::{Decision, Effect, Rules, body};
use super::super::shape::Object;
use super::flaw_of;

/// The most bytes of an AI event at [`AI_BATCH`].
const LARGEST_AI_EVENT: usize = 8 * 1024 * 1024;
/// The same at `/batch/`, where a larger one costs the whole batch.
const LARGEST_AI_EVENT_ELSEWHERE: usize = 983_040;

const OK: &str = r#"{"status":"Ok"}"#;

#[derive(Deserialize)]
struct Batch {
    #[serde(alias = "api_key")]
    token: String,
    batch: Vec<Event>,
    #[serde(rename = "historical_migration")]
    _historical_migration: Option<bool>,
    #[serde(rename = "sent_at")]
    _sent_at: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(alias = "$token", alias = "api_key")]
    token: Option<String>,
    /// Any value but null: PostHog turns it into text.
    #[serde(alias = "$distinct_id")]
    distinct_id: Option<Value>,
    #[serde(default, deserialize_with = "uuid")]
    uuid: Option<Uuid>,
    #[serde(default)]
    properties: Object,
    #[serde(rename = "timestamp")]
    _timestamp: Option<String>,
    #[serde(rename = "offset")]
    _offset: Option<i64>,
    #[serde(rename = "$set")]
    _set: Option<Object>,
    #[serde(rename = "$set_once")]
    _set_once: Option<Object>,
}

pub fn judge(rules: &Rules, request: &Request) -> Result<Decision, Answer> {
    match request.method.as_str() {
        "GET" | "HEAD" | "POST" => capture(rules, request),
        "OPTIONS" => Ok(Answer::empty(200).into()),
        _ => Err(Answer::empty(405)),
    }
}

fn capture(rules: &Rules, request: &Request) -> Result<Decision, Answer> {
    check_query(&request.query)?;
    if request.header("content-type") == Some("application/x-www-form-urlencoded") {
        return Err(Answer::text(400, "failed to decode request: invalid form data"));
    }
    let (token, events) = parse(body(request)?)?;
    check_token(rules, &token)?;
    if events.is_empty() {
        return Err(Answer::text(400, "request holds no event"));
    }
    if rules.over_quota {
        return Ok(Answer::json(200, r#"{"status":"Ok","quota_limited":["events"]}"#).into());
    }
    let largest_ai = if request.path == AI_BATCH { LARGEST_AI_EVENT } else { LARGEST_AI_EVENT_ELSEWHERE };
    if request.body.len() > largest_ai && has_larger_ai_event(&request.body, largest_ai) {
        return Err(Answer::text(413, "payload too large"));
    }
    for event in &events {
        check(event).map_err(|reason| Answer::text(400, reason))?;
        if rules.rejected_names.contains(&event.event) {
            return Err(Answer::text(400, format!("event {:?} is not valid", event.event)));
        }
    }
    let accepted = events.iter().map(|event| event.uuid).enumerate().collect();
    Ok(Decision { answer: Answer::json(200, OK), effect: Effect { accepted, ..Effect::default() } })
}

/// Any other compression is refused, though the body's first bytes alone decide how it is read.
fn check_query(query: &str) -> Result<(), Answer> {
    let mut named = query.split('&').filter_map(|part| part.strip_prefix("compression="));
    match named.find(|codec| !matches!(*codec, "gzip" | "gzip-js")) {
        None => Ok(()),
        Some(codec) => {
            let reason = format!("Failed to deserialize query string: unknown variant `{codec}`");
            Err(Answer::text(400, reason))
        }
    }
}

/// Reads a batch, an array of events or a single event.
fn parse(body: &[u8]) -> Result<(String, Vec<Event>), Answer> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Answer::text(400, "failed to decode request: invalid body encoding"))?;
    if text.trim_start().starts_with('[') {
        let events: Vec<Event> = serde_json::from_str(text).map_err(unparsable)?;
        return Ok((common_token(&events)?, events));
    }
    match serde_json::from_str::<Batch>(text) {
        Ok(Batch { token, batch, .. }) => Ok((token, batch)),
        Err(error) if error.is_data() => {
            let events = vec![serde_json::from_str::<Event>(text).map_err(unparsable)?];
            Ok((common_token(&events)?, events))
        }
        Err(error) => Err(unparsable(error)),
    }
}

/// PostHog tries the three forms in turn, and of JSON that is none of them it says no more than that.
fn unparsable(error: serde_json::Error) -> Answer {
    let reason = match error.is_data() {
        true => "data did not match any variant of untagged enum RawRequest".to_owned(),
        false => error.to_string(),
    };
    Answer::text(400, format!("failed to parse request: {reason}"))
}

/// Outside of a batch each event has a token, and it must be the same.
fn common_token(events: &[Event]) -> Result<String, Answer> {
    let mut tokens = events.iter().filter_map(|event| {
        event.token.as_deref().or_else(|| event.properties.token.as_ref().and_then(Value::as_str))
    });
    let Some(token) = tokens.next() else {
        return Err(Answer::text(401, "event submitted without an api_key"));
    };
    if tokens.any(|other| other != token) {
        return Err(Answer::text(401, "batch submitted with inconsistent api_key values"));
    }
    Ok(token.to_owned())
}

fn has_larger_ai_event(body: &[u8], largest: usize) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["batch"].as_array().into_iter().flatten().any(|event| {
        let is_ai = event["event"].as_str().is_some_and(|name| name.starts_with("$ai_"));
        is_ai && event.to_string().len() > largest
    })
}

fn check_token(rules: &Rules, token: &str) -> Result<(), Answer> {
    let revoked = rules.revoked.contains(token).then_some("revoked");
    match flaw_of(token).or(revoked) {
        Some(flaw) => Err(Answer::text(401, format!("API key is not valid: {flaw}"))),
        None => Ok(()),
    }
}

fn check(event: &Event) -> Result<(), &'static str> {
    if event.event.is_empty() {
        return Err("event submitted with an empty event name");
    }
    match event.distinct_id.as_ref().or(event.properties.distinct_id.as_ref()) {
        None => Err("event submitted without a distinct_id"),
        Some(id) if id == "" => Err("event submitted with an empty distinct_id"),
        Some(_) => Ok(()),
    }
}

fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Uuid::try_parse(&text).map_err(D::Error::custom)).transpose()
}
