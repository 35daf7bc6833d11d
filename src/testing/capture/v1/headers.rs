//! The headers of a V1 request, checked in the server's order.

use uuid::Uuid;

use super::super::super::reply::Answer;
use super::super::super::request::Request;
use super::super::flaw_of;
use super::error;
use super::time::is_rfc3339;

/// Besides `Authorization`, whose absence has an answer of its own.
const REQUIRED: [&str; 6] = [
    "PostHog-Sdk-Info",
    "PostHog-Attempt",
    "PostHog-Request-Id",
    "PostHog-Request-Timestamp",
    "content-type",
    "user-agent",
];

/// PostHog also reads `br` and `zstd`. This server has no decoder for them.
const ENCODINGS: [&str; 2] = ["gzip", "deflate"];

/// Checks the headers. Returns the token.
pub fn check(request: &Request) -> Result<&str, Answer> {
    let Some(authorization) = request.header("authorization") else {
        return Err(error(401, "missing_authorization", "request is missing the Authorization header"));
    };
    let missing: Vec<_> = REQUIRED.into_iter().filter(|name| request.header(name).is_none()).collect();
    if !missing.is_empty() {
        let reason = format!("request is missing required headers: {missing:?}");
        return Err(error(400, "missing_required_headers", reason));
    }
    let header = |name| request.header(name).unwrap_or_default();

    let Some(token) = bearer(authorization) else {
        return Err(invalid("Authorization must use Bearer scheme"));
    };
    if flaw_of(token).is_some() {
        return Err(error(401, "invalid_api_token", "The provided API token is not valid."));
    }
    let content_type = header("content-type");
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    if !mime.eq_ignore_ascii_case("application/json") {
        let reason = format!("unsupported content type: {content_type}");
        return Err(error(415, "unsupported_content_type", reason));
    }
    if let Some(codec) = request.header("content-encoding")
        && !ENCODINGS.iter().any(|known| codec.eq_ignore_ascii_case(known))
    {
        return Err(error(415, "unsupported_encoding", format!("unsupported content encoding: {codec}")));
    }
    if Uuid::try_parse(header("posthog-request-id")).is_err() {
        return Err(invalid("PostHog-Request-Id is not a valid UUID"));
    }
    if !header("posthog-attempt").parse::<u32>().is_ok_and(|attempt| attempt >= 1) {
        return Err(invalid("PostHog-Attempt must be a positive integer"));
    }
    if !is_rfc3339(header("posthog-request-timestamp")) {
        return Err(invalid("PostHog-Request-Timestamp is not valid RFC 3339"));
    }
    Ok(token)
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim())
}

fn invalid(reason: &str) -> Answer {
    error(400, "invalid_header_value", format!("invalid header value: {reason}"))
}
