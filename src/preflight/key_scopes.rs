//! What a personal API key is allowed to do. PostHog is asked about the key itself.

use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::Deserialize;

use super::check::{CheckId, Finding, Findings};
use super::http;
use crate::api::{endpoint, is_loopback};
use crate::credentials::SecretKey;
use crate::{Error, ErrorKind};

pub const IDS: &[CheckId] = &[CheckId::KeyScopes, CheckId::KeyUse];

/// What PostHog says about a key.
#[derive(Deserialize)]
pub struct Introspected {
    /// `None` is `["*"]`.
    scopes: Option<Vec<String>>,
    last_used_at: Option<String>,
}

impl Introspected {
    /// Reads an answer. `None` if it repeats the key among the scopes: PostHog does not, and a report must not show it.
    pub fn read(body: &[u8], key: &str) -> Option<Self> {
        let said: Self = serde_json::from_slice(body).ok()?;
        let repeats = said.scopes.iter().flatten().any(|scope| plain(scope).contains(key));
        (!repeats).then_some(said)
    }

    /// Judges the scopes and the last use.
    pub fn judge(&self, needed: &[String], now: SystemTime) -> [Finding; 2] {
        [scopes(self.scopes.as_deref(), needed), last_use(self.last_used_at.as_deref(), now)]
    }
}

/// Returns the host of PostHog's private API: the one that was named, else the region's, else the same host.
pub fn app_host(named: Option<String>, host: Option<&Url>) -> Result<Url, Finding> {
    match named {
        Some(url) => Url::parse(&url).map_err(|_| {
            Finding::fail("the app host is not a URL", "use https://us.posthog.com or the like")
        }),
        None => host.map(app_host_of).ok_or_else(Finding::no_host),
    }
}

/// Returns the app host of an ingestion host. A self-hosted PostHog has one host for both.
fn app_host_of(host: &Url) -> Url {
    let app = match host.host_str() {
        Some("us.i.posthog.com") => "https://us.posthog.com",
        Some("eu.i.posthog.com") => "https://eu.posthog.com",
        _ => return host.clone(),
    };
    Url::parse(app).unwrap_or_else(|_| endpoint(host, "", None))
}

pub async fn check(
    key: Option<Result<SecretKey, Finding>>,
    app_host: Result<Url, Finding>,
    needed: Vec<String>,
) -> Findings {
    let [scopes, last_use] = match ask(key, app_host).await {
        Ok(said) => said.judge(&needed, SystemTime::now()),
        Err((finding, why)) => [finding, Finding::skipped(why)],
    };
    vec![(CheckId::KeyScopes, scopes), (CheckId::KeyUse, last_use)]
}

/// Asks PostHog about the key. Without an answer, returns what is said of the scopes and of the last use instead.
async fn ask(
    key: Option<Result<SecretKey, Finding>>,
    app_host: Result<Url, Finding>,
) -> Result<Introspected, (Finding, &'static str)> {
    const NO_KEY: &str = "no secret key is configured";
    let unknown = |finding| (finding, "see config.key_scopes");
    let key = key.ok_or_else(|| (Finding::skipped(NO_KEY), NO_KEY))?.map_err(unknown)?;
    if key.expose().starts_with("phs_") {
        const WHY: &str = "a project secret key (phs_…) has no scopes to ask for: it reads flag definitions";
        return Err((Finding::skipped(WHY), "PostHog does not tell for a project secret key"));
    }
    let app_host = app_host.map_err(unknown)?;
    if app_host.scheme() != "https" && !is_loopback(&app_host) {
        return Err(unknown(Finding::fail(
            "the app host is plain http: the key was not sent",
            "use https://",
        )));
    }
    let url = endpoint(&app_host, "/api/personal_api_keys/@current/", None);
    let answer = http::get(&url, Some(&key)).await;
    let body = answer.and_then(|answer| answer.into_body(SystemTime::now(), Duration::ZERO, key.expose()));
    let body = body.map_err(|error| unknown(failed(&error)))?;
    Introspected::read(&body, key.expose()).ok_or_else(|| unknown(not_asked("the answer is not PostHog's")))
}

fn failed(error: &Error) -> Finding {
    match error.kind() {
        ErrorKind::Unauthorized => Finding::fail(
            "PostHog does not know the key (HTTP 401)",
            "create one in PostHog, Settings, Personal API keys, and put it in the place of this one",
        ),
        ErrorKind::Forbidden => Finding::fail(
            "the key may not even be asked about (HTTP 403)",
            "create one whose scopes are those that this use needs",
        ),
        _ => not_asked(&http::describe(error)),
    }
}

fn not_asked(why: &str) -> Finding {
    Finding::warn(
        format!("the key could not be asked about: {why}"),
        "check the app host (us.posthog.com, eu.posthog.com or your own), not the one that events go to",
    )
}

/// Least privilege: the scopes that are needed, and no others.
fn scopes(scopes: Option<&[String]>, needed: &[String]) -> Finding {
    const REMEDY: &str =
        "create a key with these scopes only, deploy it, and delete this one (docs/key-rotation.md)";
    let Some(scopes) = scopes.filter(|scopes| !scopes.iter().any(|scope| scope == "*")) else {
        let remedy = format!("{REMEDY}: {}", listed(needed));
        return Finding::warn("the key may do everything (*)", remedy);
    };
    let covers = |scope: &str, need: &str| {
        scope == need || need.strip_suffix(":read").is_some_and(|object| scope == format!("{object}:write"))
    };
    let missing: Vec<_> =
        needed.iter().filter(|need| !scopes.iter().any(|scope| covers(scope, need))).cloned().collect();
    if !missing.is_empty() {
        let remedy = format!("create a key that has them, and no others than {}", listed(needed));
        return Finding::fail(format!("missing: {}", listed(&missing)), remedy);
    }
    let surplus: Vec<_> = scopes.iter().filter(|scope| !needed.contains(scope)).cloned().collect();
    if !surplus.is_empty() {
        let remedy = format!("{REMEDY}: {}", listed(needed));
        return Finding::warn(format!("not needed: {}", listed(&surplus)), remedy);
    }
    Finding::pass(format!("{}, and nothing else", listed(scopes)))
}

/// Limits number and length, because the names come from a server.
fn listed(scopes: &[String]) -> String {
    let short = |scope: &String| plain(scope).chars().take(40).collect::<String>();
    scopes.iter().take(12).map(short).collect::<Vec<_>>().join(", ")
}

fn plain(scope: &str) -> String {
    scope.chars().filter(|c| !c.is_control()).collect()
}

const LONG: Duration = Duration::from_secs(90 * 24 * 3600);

fn last_use(at: Option<&str>, now: SystemTime) -> Finding {
    let Some(text) = at else { return Finding::pass("never used before: a new key") };
    let Ok(at) = humantime::parse_rfc3339_weak(text.trim_end_matches("+00:00").trim_end_matches('Z')) else {
        return Finding::skipped("PostHog names no time that can be read");
    };
    let unused = now.duration_since(at).unwrap_or_default();
    let days = unused.as_secs() / (24 * 3600);
    if unused > LONG {
        return Finding::warn(
            format!("unused for {days} days before this"),
            "if nothing needs it, delete it in PostHog; else give it to what needs it",
        );
    }
    Finding::pass(format!("used {days} days ago"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    fn owned(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|&scope| scope.to_owned()).collect()
    }

    #[test]
    fn least_privilege_is_what_is_needed_and_nothing_else() {
        let needed = owned(&["feature_flag:read"]);
        let judged = |has: &[&str]| scopes(Some(&owned(has)), &needed);
        assert_eq!(judged(&["feature_flag:read"]).status, Pass);
        assert_eq!(judged(&["feature_flag:write"]).status, Warn);
        assert_eq!(judged(&["*"]).status, Warn);
        assert_eq!(scopes(None, &needed).status, Warn);
        assert_eq!(judged(&["query:read"]).status, Fail);
        assert_eq!(judged(&[]).status, Fail);
        let surplus = judged(&["feature_flag:read", "person:write"]);
        assert_eq!((surplus.status, surplus.seen.as_str()), (Warn, "not needed: person:write"));
    }

    #[test]
    fn who_repeats_the_key_is_not_posthog() {
        let says =
            |scope: &str| Introspected::read(format!(r#"{{"scopes":["{scope}"]}}"#).as_bytes(), "phx_key");
        assert!(says("query:read").is_some());
        assert!(says("query:phx_key").is_none());
        assert!(says(r"phx_\u0001key").is_none(), "control characters are left out of a report");
    }

    #[test]
    fn unused_for_ninety_days_warns() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ago = |seconds: u64| humantime::format_rfc3339(now - Duration::from_secs(seconds)).to_string();
        let ninety = 90 * 24 * 3600;
        assert_eq!(last_use(Some(&ago(ninety)), now).status, Pass);
        assert_eq!(last_use(Some(&ago(ninety + 1)), now).status, Warn);
        assert_eq!(last_use(Some("2020-01-01T00:00:00.123456+00:00"), now).status, Warn);
        assert_eq!(last_use(None, now).status, Pass);
        assert_eq!(last_use(Some("yesterday"), now).status, Skipped);
    }

    #[test]
    fn the_key_goes_to_the_app_host_of_its_region() {
        for (host, app) in [
            ("https://us.i.posthog.com", "https://us.posthog.com/"),
            ("https://eu.i.posthog.com", "https://eu.posthog.com/"),
            ("https://posthog.example/ingest", "https://posthog.example/ingest"),
        ] {
            assert_eq!(app_host_of(&Url::parse(host).unwrap()).as_str(), app);
        }
    }
}
