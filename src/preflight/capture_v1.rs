use reqwest::Url;

use super::check::Finding;
use super::http;
use crate::api::{CaptureProtocol, ProtocolReason};
use crate::credentials::ProjectToken;

/// Asks whether capture V1 works here. No event is sent, and no project is concerned.
pub async fn check(host: Url, protocol: CaptureProtocol) -> Finding {
    let found = match http::api(&host, ProjectToken::stand_in()).await {
        Ok(api) => api.probe_v1().await,
        Err(error) => Err(error),
    };
    match found {
        Ok(reason) => judge(protocol, reason),
        Err(error) => Finding::skipped(format!("PostHog could not be asked: {}", http::describe(&error))),
    }
}

fn judge(protocol: CaptureProtocol, missing: Option<ProtocolReason>) -> Finding {
    let Some(reason) = missing else {
        return Finding::pass(match protocol {
            CaptureProtocol::V0 => "V0 is set; V1 works here: CaptureProtocol::Auto would use it",
            CaptureProtocol::Auto | CaptureProtocol::V1 => "V1 works",
        });
    };
    let remedy = match reason {
        ProtocolReason::HeadersStripped => "let the proxy pass Authorization and PostHog-*",
        _ => "let the proxy pass /i/v1/analytics/events, or update a PostHog of your own",
    };
    let seen = format!("V1 does not work here: {}", reason.as_str());
    match protocol {
        CaptureProtocol::V0 => Finding::pass(format!("V0 is set; {seen}")),
        CaptureProtocol::Auto => Finding::warn(format!("{seen}; events go by V0"), remedy),
        CaptureProtocol::V1 => Finding::fail(seen, format!("set CaptureProtocol::Auto, or {remedy}")),
    }
}
