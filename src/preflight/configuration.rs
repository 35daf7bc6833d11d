//! The token, where it comes from, and the host. Judgement only, but for the permissions of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::check::Finding;
use super::subject::refused;
use crate::ConfigError;
use crate::credentials::{CredentialsError, KeyOrigin, ProjectToken};
use crate::transport::is_loopback;

pub(super) fn settings(settings: &Result<(), ConfigError>) -> Finding {
    match settings {
        Ok(()) => Finding::pass("the client can be built"),
        Err(error) => refused(error),
    }
}

pub(super) fn enabled(is_disabled: bool) -> Finding {
    if is_disabled {
        return Finding::warn(
            "the client is disabled: nothing is sent",
            "unset POSTHOG_DISABLED, or do not call disabled(true) in production",
        );
    }
    Finding::pass("the client sends")
}

pub(super) fn not_given(error: &CredentialsError) -> Finding {
    match error {
        CredentialsError::Invalid(error) => refused(error),
        error => {
            Finding::fail(error.to_string(), "look at the vault, the mount, and your provider's own log")
        }
    }
}

pub(super) fn hangs(limit: Duration) -> Finding {
    Finding::fail(
        format!("not read within {} s", limit.as_secs()),
        "look at the vault or the mount that it comes from: it hangs",
    )
}

pub(super) fn none_yet(what: &str) -> Finding {
    Finding::fail(
        format!("the provider has given no {what} yet"),
        "look at the vault and at your provider's own log, then run this again",
    )
}

pub(super) fn token(token: &ProjectToken) -> Finding {
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

/// Words that stand in for a token in examples and templates. A token is one word of letters and digits.
const STAND_INS: [&str; 22] = [
    "your",
    "my",
    "project",
    "token",
    "key",
    "api",
    "apikey",
    "placeholder",
    "changeme",
    "change",
    "example",
    "todo",
    "replace",
    "insert",
    "here",
    "test",
    "dummy",
    "secret",
    "null",
    "none",
    "nil",
    "undefined",
];

fn is_placeholder(token: &str) -> bool {
    let body = token.strip_prefix("phc_").unwrap_or(token).to_ascii_lowercase();
    let has_stand_in = body.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| STAND_INS.contains(&word));
    let is_spelt_out =
        ["placeholder", "changeme", "projecttoken", "yourtoken", "yourproject", "projectapikey"]
            .iter()
            .any(|words| body.contains(words));
    let first = body.chars().next();
    let is_one_letter = body.chars().all(|c| Some(c) == first);
    has_stand_in || is_spelt_out || is_one_letter
}

/// A literal in a debug build is somebody at work.
pub(super) fn token_source(origin: Option<&KeyOrigin>, is_release: bool) -> Finding {
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

pub(super) fn host(url: &Url) -> Finding {
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

/// Reads the permissions of files that hold secrets.
pub(super) fn secret_files(files: &[(&'static str, PathBuf)]) -> Finding {
    let look = |(name, path): &(&'static str, PathBuf)| (*name, mode(path));
    permissions(&files.iter().map(look).collect::<Vec<_>>())
}

fn permissions(files: &[(&'static str, Option<u32>)]) -> Finding {
    const REMEDY: &str =
        "chmod 0400 (0440 with a group of its own); in Kubernetes defaultMode: 0440 and an fsGroup";
    let whose = |bits: u32| {
        let named = files.iter().filter(move |(_, mode)| mode.is_some_and(|mode| mode & bits != 0));
        named
            .map(|(name, mode)| format!("{name} {:04o}", mode.unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let [all_write, group_writes, all_read] = [0o002, 0o020, 0o004].map(whose);
    if files.is_empty() {
        return Finding::skipped("no secret comes from a file");
    }
    if !all_write.is_empty() {
        return Finding::fail(format!("anybody can write it: {all_write}"), REMEDY);
    }
    if !group_writes.is_empty() {
        return Finding::warn(format!("its group can write it: {group_writes}"), REMEDY);
    }
    if !all_read.is_empty() {
        return Finding::warn(format!("anybody on the machine can read it: {all_read}"), REMEDY);
    }
    if files.iter().any(|(_, mode)| mode.is_none()) {
        return Finding::skipped("a file has no permissions to look at");
    }
    Finding::pass(format!("{} for its owner's eyes, or its group's", count(files.len(), "file")))
}

pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{self, Fail, Pass, Skipped, Warn};

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

    #[test]
    fn permissions_at_each_bit() {
        let judged = |mode: Option<u32>| permissions(&[("FILE", Some(0o400)), ("OTHER", mode)]).status;
        let rows: [(u32, CheckStatus); 8] = [
            (0o400, Pass),
            (0o440, Pass),
            (0o600, Pass),
            (0o640, Pass),
            (0o644, Warn),
            (0o660, Warn),
            (0o666, Fail),
            (0o602, Fail),
        ];
        for (mode, status) in rows {
            assert_eq!(judged(Some(mode)), status, "{mode:o}");
        }
        assert_eq!(judged(None), Skipped);
        assert_eq!(permissions(&[]).status, Skipped);
    }
}
