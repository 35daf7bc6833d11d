//! `/flags/definitions/`: the flags' definitions, for clients with a secret key.

use serde_json::{Value, json};

use super::reply::Answer;
use super::request::Request;
use super::rules::{Rules, UNKNOWN_TOKEN};

pub fn answer(rules: &Rules, request: &Request) -> Answer {
    if !request.bearer().is_some_and(|key| rules.secret_keys.contains(key)) {
        return Answer::json(401, UNKNOWN_TOKEN);
    }
    let flags: Vec<Value> = rules.flags.iter().map(|(key, value)| definition(key, value)).collect();
    let body = json!({"flags": flags, "group_type_mapping": {}, "cohorts": {}}).to_string();
    let tag = format!("W/\"{:x}\"", crc(&body));
    if request.header("if-none-match") == Some(&tag) {
        return Answer::empty(304);
    }
    let mut answer = Answer::json(200, body);
    answer.headers.push(("etag".into(), tag));
    answer
}

fn definition(key: &str, value: &Value) -> Value {
    let variants = value.as_str().map(|variant| json!([{"key": variant, "rollout_percentage": 100.0}]));
    json!({
        "key": key,
        "active": value.as_bool().unwrap_or(true),
        "filters": {
            "groups": [{"properties": [], "rollout_percentage": 100.0}],
            "multivariate": variants.map(|variants| json!({"variants": variants})),
            "payloads": {},
        },
    })
}

fn crc(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}
