use reqwest::Url;

use super::check::Finding;
use super::http;
use crate::Error;
use crate::api::{CaptureProtocol, Current, ProtocolReason, Refusal};
use crate::credentials::ProjectToken;

/// Asks whether capture V1 works here. No event is sent, and no project is concerned. `current` is what a running client
/// speaks.
pub async fn check(host: Url, protocol: CaptureProtocol, current: Option<Current>) -> Finding {
    let found = match http::api(&host, ProjectToken::stand_in()).await {
        Ok(api) => api.probe_v1().await,
        Err(error) => Err(Refusal::Failed(error)),
    };
    judge(protocol, current, found)
}

fn judge(protocol: CaptureProtocol, current: Option<Current>, found: Result<(), Refusal>) -> Finding {
    use CaptureProtocol::{Auto, V0, V1};
    let (reason, error) = match found {
        Ok(()) => {
            return Finding::pass(match (protocol, current) {
                (V0, _) => "V0 is set; V1 works here: CaptureProtocol::Auto would use it".to_owned(),
                (Auto, Some(current)) => format!("V1 works; {}", spoken(current)),
                (Auto | V1, _) => "V1 works".to_owned(),
            });
        }
        Err(Refusal::NotV1(reason, error)) => (reason, error),
        Err(Refusal::Failed(error)) => {
            return Finding::skipped(format!("PostHog could not be asked: {}", http::describe(&error)));
        }
    };
    let remedy = match reason {
        ProtocolReason::HeadersStripped => "let the proxy pass Authorization and PostHog-*",
        _ => "let the proxy pass /i/v1/analytics/events, or update a PostHog of your own",
    };
    let seen = format!("V1 does not work here: {}{}", reason.as_str(), answered(&error));
    match protocol {
        V0 => Finding::pass(format!("V0 is set; {seen}")),
        Auto => {
            let instead = current.map_or_else(|| "events go by V0".to_owned(), spoken);
            Finding::warn(format!("{instead}; {seen}"), remedy)
        }
        V1 => Finding::fail(seen, format!("set CaptureProtocol::Auto, or {remedy}")),
    }
}

fn spoken(Current { protocol, reason }: Current) -> String {
    format!("this client speaks {} now ({})", protocol.as_str().to_uppercase(), reason.as_str())
}

/// The status, and PostHog's own words if there are any. They name the headers that are missing.
fn answered(error: &Error) -> String {
    let status = error.status().map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    let words = error.answer().map(|words| format!(": {words}")).unwrap_or_default();
    status + &words
}
