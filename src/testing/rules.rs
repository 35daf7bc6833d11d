//! PostHog's rules: they decide the answer to a request. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::capture::{self, Undecodable, v0, v1};
use super::definitions;
use super::host::Host;
use super::reply::{Answer, Reply};
use super::request::{Request, Route};
use super::shape::{self, Evaluation};

/// The projects' tokens, keys, flags and limits.
#[derive(Default)]
pub struct Rules {
    pub host: Host,
    pub tokens: HashSet<String>,
    /// Capture refuses these.
    pub revoked: HashSet<String>,
    /// `/flags/definitions/` takes these.
    pub secret_keys: HashSet<String>,
    pub over_quota: bool,
    /// Events of these names are rejected, and in V0 their batch with them.
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
    /// The accepted events: their positions in the batch, and their uuids.
    pub accepted: Vec<(usize, Option<Uuid>)>,
    /// Whether flags were evaluated.
    pub billable: bool,
}

impl Rules {
    /// Decides on a request that `reply` leaves to PostHog.
    pub fn judge(&self, request: &Request, reply: &Reply) -> Decision {
        if let Some(answer) = self.host.answer(request) {
            return answer.into();
        }
        let request = &*self.host.forward(request);
        match (request.route, request.method.as_str()) {
            (Route::Batch, _) => v0::judge(self, request).unwrap_or_else(Decision::from),
            (Route::CaptureV1, _) => v1::judge(self, request, &reply.verdicts).unwrap_or_else(Decision::from),
            (Route::Flags, "POST") => self.evaluate(request).unwrap_or_else(Decision::from),
            (Route::Flags, "GET" | "HEAD") => Answer::json(200, NO_FLAGS).into(),
            (Route::Definitions, "GET") => definitions::answer(self, request).into(),
            (Route::PersonalApiKey, "GET") => self.introspect(request).into(),
            (Route::Flags | Route::Definitions | Route::PersonalApiKey, _) => Answer::empty(405).into(),
            (Route::Other, "GET" | "HEAD") if request.path == "/_readiness" => {
                Answer::text(200, "capture").into()
            }
            (Route::Other, _) => Answer::empty(404).into(),
        }
    }

    /// The reply that the content of a batch provokes.
    pub fn provoked(&self, request: &Request) -> Option<&Reply> {
        if self.replies.is_empty() || !matches!(request.route, Route::Batch | Route::CaptureV1) {
            return None;
        }
        let events = capture::events(&request.body);
        events.iter().find_map(|event| self.replies.get(event["event"].as_str()?))
    }

    fn evaluate(&self, request: &Request) -> Result<Decision, Answer> {
        let asked: Evaluation = shape::parse(body(request)?)
            .map_err(|reason| Answer::text(400, format!("failed to parse request: {reason}")))?;
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

/// The body, or an answer in plain text.
pub fn body(request: &Request) -> Result<&[u8], Answer> {
    match &request.undecodable {
        None => Ok(&request.body),
        Some(Undecodable::TooLarge) => Err(Answer::text(413, "request body is too large")),
        Some(Undecodable::Broken(reason)) => {
            Err(Answer::text(400, format!("failed to decode request: {reason}")))
        }
    }
}
