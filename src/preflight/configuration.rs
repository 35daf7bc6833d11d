//! The token, where it comes from, and the host. Judgement only.

use reqwest::Url;

use super::check::Finding;
use crate::ConfigError;
use crate::api::is_loopback;
use crate::credentials::{KeyOrigin, ProjectToken};

pub fn settings(settings: &Result<(), ConfigError>) -> Finding {
    match settings {
        Ok(()) => Finding::pass("the client can be built"),
        Err(error) => Finding::refused(error),
    }
}

pub fn enabled(is_disabled: bool) -> Finding {
    if is_disabled {
        return Finding::warn(
            "the client is disabled: nothing is sent",
            "unset POSTHOG_DISABLED, or do not call disabled(true) in production",
        );
    }
    Finding::pass("the client sends")
}

pub fn token(token: &ProjectToken) -> Finding {
    let text = token.expose();
    if is_placeholder(text) {
        return Finding::fail(
            format!("looks like a placeholder, {} characters", text.len()),
            "put the project token in its place: PostHog, Settings, Project, \"Project API key\" (phc_…)",
        );
    }
    let prefix = if text.starts_with("phc_") { "phc_…" } else { "an old one without phc_" };
    Finding::pass(format!("a project token ({prefix}, {} characters)", text.len()))
}

/// Words of placeholders in examples and templates. A real token is one word of letters and digits.
const STAND_INS: &str = "your my project token key api apikey placeholder changeme change example todo \
    replace insert here test dummy secret null none nil undefined";

fn is_placeholder(token: &str) -> bool {
    let body = token.strip_prefix("phc_").unwrap_or(token).to_ascii_lowercase();
    let mut words = body.split(|c: char| !c.is_ascii_alphanumeric());
    let has_stand_in = words.any(|word| STAND_INS.split(' ').any(|stand_in| stand_in == word));
    let is_spelt_out =
        ["placeholder", "changeme", "projecttoken", "yourtoken", "yourproject", "projectapikey"]
            .iter()
            .any(|words| body.contains(words));
    let first = body.chars().next();
    let is_one_letter = body.chars().all(|c| Some(c) == first);
    has_stand_in || is_spelt_out || is_one_letter
}

/// A literal is fine in a debug build, where somebody develops.
pub fn token_source(origin: Option<&KeyOrigin>, is_release: bool) -> Finding {
    match origin {
        None => Finding::skipped("there is no token"),
        Some(KeyOrigin::Environment(variable)) => Finding::pass(format!("the variable {variable}")),
        Some(KeyOrigin::File(_)) => Finding::pass("a file: a new token is taken without a restart"),
        Some(KeyOrigin::Provider) => Finding::pass("a provider: a new token is taken without a restart"),
        Some(KeyOrigin::Literal) if is_release => Finding::warn(
            "given by the code, in a release build",
            "use PostHog::from_env() or CredentialSource::file, environment or provider",
        ),
        Some(KeyOrigin::Literal) => Finding::pass("given by the code, in a debug build"),
    }
}

pub fn host(url: &Url) -> Finding {
    let shown = format!("{}{}", url.authority(), url.path().trim_end_matches('/'));
    let name = url.host_str().unwrap_or_default();
    match name {
        _ if is_loopback(url) => Finding::pass(format!("{shown}, this machine")),
        _ if url.scheme() == "http" => Finding::warn(
            format!(
                "{shown} over plain http, as you asked: the token and every event are readable on the way"
            ),
            "use https://, and no allow_insecure_http(true)",
        ),
        "us.i.posthog.com" => Finding::pass("PostHog Cloud US (us.i.posthog.com), https"),
        "eu.i.posthog.com" => Finding::pass("PostHog Cloud EU (eu.i.posthog.com), https"),
        _ if name == "posthog.com" || name.ends_with(".posthog.com") => Finding::warn(
            format!("{shown} is none of PostHog Cloud's ingestion hosts"),
            "use \"us\" or \"eu\", whichever your project is in",
        ),
        _ => Finding::pass(format!("{shown}, your own PostHog or reverse proxy, https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Pass, Skipped, Warn};

    #[test]
    fn placeholders_are_told_from_tokens() {
        for text in [
            "phc_your_project_token",
            "phc_xxxxxxxxxxxxxxxxxxxx",
            "changeme",
            "phc_test",
            "phc_PLACEHOLDER1",
            "YOUR-API-KEY",
            "phc_0000000000",
            "phc_ProjectTokenFromSettings",
            // What templates make of nothing.
            "null",
            "undefined",
            "None",
            "phc_secret",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in
            ["phc_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak", "sTMFPsFhdP1Ssg", "phc_keyTodoYourTest09aZ"]
        {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn a_literal_warns_in_a_release_build_only() {
        let literal = Some(KeyOrigin::Literal);
        assert_eq!(token_source(literal.as_ref(), true).status, Warn);
        assert_eq!(token_source(literal.as_ref(), false).status, Pass);
        for origin in [KeyOrigin::Environment("V"), KeyOrigin::File("f".into()), KeyOrigin::Provider] {
            assert_eq!(token_source(Some(&origin), true).status, Pass);
        }
        assert_eq!(token_source(None, true).status, Skipped);
    }

    #[test]
    fn hosts() {
        for (url, status, says) in [
            ("https://us.i.posthog.com", Pass, "Cloud US"),
            ("https://eu.i.posthog.com", Pass, "Cloud EU"),
            ("https://internal-c.posthog.com", Warn, "none of PostHog Cloud's"),
            ("http://10.0.0.1:8000", Warn, "plain http"),
            ("http://127.0.0.1:8000", Pass, "this machine"),
            ("https://example.com/ingest/", Pass, "example.com/ingest,"),
        ] {
            let finding = host(&Url::parse(url).unwrap());
            assert!(finding.status == status && finding.seen.contains(says), "{url}: {finding:?}");
        }
    }
}
