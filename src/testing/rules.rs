//! PostHog's rules: they decide the answer to a request. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::definitions;
use super::reply::{Answer, Reply};
use super::request::{Request, Route};
use super::shape::{self, Batch, Evaluation, Event};

/// The projects' tokens, keys, flags and limits.
#[derive(Default)]
pub struct Rules {
    pub tokens: HashSet<String>,
    /// `/batch/` refuses these.
    pub revoked: HashSet<String>,
    /// `/flags/definitions/` takes these.
    pub secret_keys: HashSet<String>,
    pub over_quota: bool,
    /// Events of these names are rejected, and with them their batch.
    pub rejected_names: HashSet<String>,
    /// Batches with an event of such a name get this reply.
    pub replies: HashMap<String, Reply>,
    /// Personal API keys: their scopes, and when they were last used.
    pub personal_keys: HashMap<String, (Vec<String>, Option<String>)>,
    /// Everybody's flags: on, off, or a variant.
    pub flags: BTreeMap<String, Value>,
}

/// The answer to a request, and its effect.
pub struct Decision {
    pub answer: Answer,
    pub effect: Effect,
}

#[derive(Default)]
pub struct Effect {
    /// The accepted events, by their uuids.
    pub accepted: Vec<Option<Uuid>>,
    /// Whether flags were evaluated.
    pub billable: bool,
}

impl Rules {
    pub fn judge(&self, request: &Request) -> Decision {
        match (request.route, request.method.as_str()) {
            (Route::Batch, "POST") => self.capture(request).unwrap_or_else(Decision::from),
            (Route::Flags, "POST") => self.evaluate(request).unwrap_or_else(Decision::from),
            (Route::Flags, "GET" | "HEAD") => Answer::json(200, NO_FLAGS).into(),
            (Route::Definitions, "GET") => definitions::answer(self, request).into(),
            (Route::PersonalApiKey, "GET") => self.introspect(request).into(),
            (Route::Batch | Route::Flags | Route::Definitions | Route::PersonalApiKey, _) => {
                Answer::empty(405).into()
            }
            (Route::Other, _) => Answer::empty(404).into(),
        }
    }

    /// The reply that the content of a batch provokes.
    pub fn provoked(&self, request: &Request) -> Option<&Reply> {
        if self.replies.is_empty() || request.route != Route::Batch {
            return None;
        }
        let batch: Batch = shape::parse(&request.body).ok()?;
        batch.batch.iter().find_map(|event| self.replies.get(&event.event))
    }

    fn capture(&self, request: &Request) -> Result<Decision, Answer> {
        let batch: Batch = shape::parse(body(request)?).map_err(unparsable)?;
        if batch.batch.is_empty() {
            return Err(Answer::text(400, "request holds no event"));
        }
        check_token(batch.api_key.as_deref())?;
        if batch.api_key.is_some_and(|token| self.revoked.contains(&*token)) {
            return Err(Answer::text(401, "API key is not valid: revoked"));
        }
        let uuids: Result<_, _> = batch.batch.iter().map(check_event).collect();
        let accepted = uuids.map_err(|reason| Answer::text(400, reason))?;
        if let Some(event) = batch.batch.iter().find(|event| self.rejected_names.contains(&*event.event)) {
            return Err(Answer::text(400, format!("event {:?} is not valid", event.event)));
        }
        if self.over_quota {
            let answer = r#"{"status":"Ok","quota_limited":["events"]}"#;
            return Ok(Answer::json(200, answer).into());
        }
        let effect = Effect { accepted, ..Effect::default() };
        let answer = Answer::json(200, r#"{"status":"Ok"}"#);
        Ok(Decision { answer, effect })
    }

    fn evaluate(&self, request: &Request) -> Result<Decision, Answer> {
        let asked: Evaluation = shape::parse(body(request)?).map_err(unparsable)?;
        let token = asked.api_key.unwrap_or_default();
        if !self.tokens.contains(&token) {
            return Err(Answer::json(401, UNKNOWN_TOKEN));
        }
        let billable = !asked.disable_flags;
        if billable && asked.distinct_id.is_none() {
            return Err(Answer::text(400, "The distinct_id field is missing from the request."));
        }
        let effect = Effect { billable, ..Effect::default() };
        let answer = match (billable, self.over_quota) {
            (true, true) => Answer::json(200, FLAGS_OVER_QUOTA),
            (true, false) => Answer::json(200, self.flags()),
            (false, _) => Answer::json(200, NO_FLAGS),
        };
        Ok(Decision { answer, effect })
    }

    fn introspect(&self, request: &Request) -> Answer {
        let Some((scopes, last_used_at)) = request.bearer().and_then(|key| self.personal_keys.get(key))
        else {
            return Answer::json(401, UNKNOWN_PERSONAL_KEY);
        };
        let answer = json!({
            "id": "fake",
            "label": "fake",
            "mask_value": "phx_...fake",
            "scopes": scopes,
            "scoped_teams": [],
            "scoped_organizations": [],
            "last_used_at": last_used_at,
        });
        Answer::json(200, answer.to_string())
    }

    fn flags(&self) -> String {
        let detail = |(key, value): (&String, &Value)| {
            let detail = json!({
                "key": key,
                "enabled": value.as_bool().unwrap_or(true),
                "variant": value.as_str(),
                "reason": {"code": "condition_match", "description": "Matched condition set 1"},
                "metadata": {"id": 1, "version": 1, "payload": null},
            });
            (key.clone(), detail)
        };
        let flags: Map<String, Value> = self.flags.iter().map(detail).collect();
        json!({"flags": flags, "errorsWhileComputingFlags": false, "requestId": "fake"}).to_string()
    }
}

const FLAGS_OVER_QUOTA: &str =
    r#"{"flags":{},"errorsWhileComputingFlags":false,"quotaLimited":["feature_flags"],"requestId":"fake"}"#;

const NO_FLAGS: &str = r#"{"flags":{},"errorsWhileComputingFlags":false,"requestId":"fake"}"#;

pub const UNKNOWN_TOKEN: &str = concat!(
    r#"{"type":"authentication_error","code":"invalid_api_key","#,
    r#""detail":"The provided API key is invalid or has expired.","attr":null}"#
);

const UNKNOWN_PERSONAL_KEY: &str = concat!(
    r#"{"type":"authentication_error","code":"authentication_failed","#,
    r#""detail":"Invalid personal API key.","attr":null}"#
);

impl From<Answer> for Decision {
    fn from(answer: Answer) -> Self {
        Self { answer, effect: Effect::default() }
    }
}

fn body(request: &Request) -> Result<&[u8], Answer> {
    match &request.undecodable {
        Some(reason) => Err(Answer::text(400, format!("failed to decode request: {reason}"))),
        None => Ok(&request.body),
    }
}

fn unparsable(reason: String) -> Answer {
    Answer::text(400, format!("failed to parse request: {reason}"))
}

/// The capture endpoint checks the token's shape alone.
fn check_token(token: Option<&str>) -> Result<(), Answer> {
    let Some(token) = token else {
        return Err(Answer::text(400, "event submitted without an api_key"));
    };
    let flaw = match token {
        "" => "empty",
        _ if token.len() > 64 => "too_long",
        _ if !token.is_ascii() => "not_ascii",
        _ if token.starts_with("phx_") => "personal_api_key",
        _ => return Ok(()),
    };
    Err(Answer::text(401, format!("API key is not valid: {flaw}")))
}

/// Checks the rules that the parser does not. Returns the uuid of a good event.
fn check_event(event: &Event) -> Result<Option<Uuid>, &'static str> {
    if event.event.is_empty() {
        return Err("event submitted with an empty event name");
    }
    match &event.distinct_id {
        None => return Err("event submitted without a distinct_id"),
        Some(id) if id == "" => return Err("event submitted with an empty distinct_id"),
        Some(_) => {}
    }
    match event.uuid.as_deref() {
        None | Some("") => Ok(None),
        Some(uuid) => Ok(Some(shape::parse_uuid(uuid).ok_or("failed to parse request: bad uuid")?)),
    }
}
