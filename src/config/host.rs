use posthog_rs::{EU_INGESTION_ENDPOINT, EndpointManager, US_INGESTION_ENDPOINT};
use reqwest::Url;

use crate::ConfigError;
use crate::api::{is_cloud, is_loopback};

/// Paths that are PostHog's own endpoints: whoever ends a host with one has pasted an endpoint.
const ENDPOINTS: [&str; 8] = ["batch", "capture", "decide", "e", "engage", "flags", "i", "track"];

/// The ingestion host: `us` and `eu`, app hosts mapped as the SDK maps them, or a host or reverse proxy of
/// one's own, perhaps under a path.
pub fn parse(host: &str, allow_insecure: bool) -> Result<Url, ConfigError> {
    let refuse = |problem: String, remedy: &'static str| Err(ConfigError::new("host", problem, remedy));
    let host = match host.trim() {
        "" => return refuse("is empty".into(), "leave it out for PostHog Cloud US, or use \"eu\" or a URL"),
        "us" => US_INGESTION_ENDPOINT.to_owned(),
        "eu" => EU_INGESTION_ENDPOINT.to_owned(),
        // As a URL has it: the SDK knows app hosts in lower case only.
        other => {
            EndpointManager::determine_server_host(&Url::parse(other).map_or(other.into(), String::from))
        }
    };
    let Ok(url) = Url::parse(&host) else {
        return refuse(
            "is not a URL".into(),
            "use \"us\", \"eu\", or a URL such as https://us.i.posthog.com",
        );
    };
    if !matches!(url.scheme(), "https" | "http") {
        return refuse(
            format!("has the scheme {:?}", url.scheme()),
            "begin it with https://, or http:// if it is this machine",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("has a user name or password in it".into(), "take them out: PostHog needs neither");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or a fragment".into(), "end it before the ? or #");
    }
    if url.host_str().is_some_and(|host| host.ends_with('.')) {
        return refuse(
            "ends in a dot".into(),
            "take the dot away: with it PostHog Cloud is not known as such",
        );
    }
    let first = url.path_segments().into_iter().flatten().find(|segment| !segment.is_empty());
    let last = url.path_segments().into_iter().flatten().rfind(|segment| !segment.is_empty());
    if [first, last].iter().flatten().any(|segment| ENDPOINTS.contains(segment)) {
        return refuse(
            format!("has the path {:?}, which is one of PostHog's endpoints", url.path()),
            "end it before that: endpoints are added to it",
        );
    }
    if is_cloud(&url) && first.is_some() {
        return refuse(
            format!("has the path {:?}, and PostHog Cloud has none", url.path()),
            "end it after the host name",
        );
    }
    if url.scheme() == "http" && !allow_insecure && !is_loopback(&url) {
        return refuse(
            "is plain http, which shows every event to the network".into(),
            "use https://, or call allow_insecure_http(true) if the network is yours",
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_shorthands_app_hosts_and_proxies() {
        for (host, url) in [
            ("us", "https://us.i.posthog.com/"),
            ("eu", "https://eu.i.posthog.com/"),
            ("https://app.posthog.com", "https://us.i.posthog.com/"),
            ("https://us.posthog.com/", "https://us.i.posthog.com/"),
            ("https://eu.posthog.com", "https://eu.i.posthog.com/"),
            ("HTTPS://EU.PostHog.com", "https://eu.i.posthog.com/"),
            (" https://eu.i.posthog.com/ ", "https://eu.i.posthog.com/"),
            ("https://example.com/ingest/", "https://example.com/ingest"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
            ("http://127.9.9.9:8000", "http://127.9.9.9:8000/"),
            ("http://[::1]:8000", "http://[::1]:8000/"),
            ("http://localhost:8000", "http://localhost:8000/"),
        ] {
            assert_eq!(parse(host, false).unwrap().as_str(), url, "{host}");
        }
    }

    #[test]
    fn refuses_hosts_that_cannot_be() {
        for (host, problem) in [
            ("", "empty"),
            ("us.i.posthog.com", "not a URL"),
            ("ftp://us.i.posthog.com", "scheme"),
            ("https://user:secret@us.i.posthog.com", "user name"),
            ("https://us.i.posthog.com/?token=secret", "query"),
            ("https://us.i.posthog.com/batch/", "endpoints"),
            ("https://us.i.posthog.com/i/v0/e", "endpoints"),
            ("https://example.com/ingest/flags", "endpoints"),
            ("https://us.posthog.com/project/123", "Cloud has none"),
            ("https://us.i.posthog.com/api/projects", "Cloud has none"),
            ("https://us.i.posthog.com.", "dot"),
            ("http://us.i.posthog.com", "plain http"),
            ("http://localhost.example.com", "plain http"),
            ("http://10.0.0.1", "plain http"),
        ] {
            let error = parse(host, false).unwrap_err();
            assert_eq!(error.field(), "host");
            assert!(error.problem().contains(problem), "{host}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(parse("http://10.0.0.1", true).is_ok());
    }
}
