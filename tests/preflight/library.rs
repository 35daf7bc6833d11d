//! From code: a client that runs, a builder that cannot be built.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use posthog_health::layers::{CircuitBreakerConfig, RetryConfig};
use posthog_health::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};
use posthog_health::preflight::{CheckId, CheckStatus, PreflightReport, PreflightVerdict};
use posthog_health::testing::{FakePostHog, Host, Reply, Request, Route};
use posthog_health::{
    AlertName, AlertsConfig, CaptureProtocol, CredentialSource, Event, PostHog, SpoolConfig,
};

use crate::{PERSONAL_KEY, json_server, secret_file};

const S: fn(u64) -> Duration = Duration::from_secs;

fn status(report: &PreflightReport, id: CheckId) -> CheckStatus {
    report.check(id).unwrap().status
}

#[tokio::test]
async fn a_running_client_is_looked_at_and_not_disturbed() {
    let server = FakePostHog::start();
    let place = tempfile::tempdir().unwrap();
    let spool = place.path().join("spool");
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(server.url())
        .spool(SpoolConfig::at(&spool))
        .build()
        .unwrap();
    posthog.capture_durable(Event::new("before", "user-1")).await.unwrap();
    let files = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&spool).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let report = posthog.preflight().event_rate(100.0).await;
    assert_eq!(files(), before);
    assert_eq!(report.counts().fail, 0, "{report}");
    assert_eq!(status(&report, CheckId::Spool), Pass, "{report}");
    assert_eq!(status(&report, CheckId::TokenAccepted), Pass);
    let logs = &report.check(CheckId::Logs).unwrap().seen;
    assert!(
        logs.contains("no tracing subscriber is installed"),
        "whatever the spool's thread has set: {logs}"
    );
    assert!(report.check(CheckId::Queue).unwrap().seen.contains("on disk"), "{report}");
    posthog.flush().await.unwrap();
    assert_eq!((server.distinct(), server.billable_flag_requests()), (1, 0));
    posthog.shutdown(S(5)).await;
}

#[tokio::test]
async fn its_own_settings_are_judged() {
    let server = FakePostHog::start();
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(server.url())
        .circuit_breaker(CircuitBreakerConfig::default().open_time(S(1), S(120)))
        .retry(RetryConfig::default().attempts(50))
        .alerts(AlertsConfig::default().off(AlertName::AuthFailures))
        .linger(S(20))
        .build()
        .unwrap();
    let report = posthog.preflight().await;
    for id in [CheckId::Breaker, CheckId::Backoff, CheckId::Alerts, CheckId::Timeouts] {
        assert_eq!(status(&report, id), Warn, "{report}");
    }
    assert_eq!(
        (report.verdict(), report.exit_code(false), report.exit_code(true)),
        (PreflightVerdict::Warn, 0, 1)
    );
    assert!(report.check(CheckId::Alerts).unwrap().seen.contains("Auth Failures"));
}

/// In each mode, with V1 and without it. It costs one request, without the project's token.
#[tokio::test]
async fn whether_v1_works_is_judged_by_the_mode_and_a_running_client_says_what_it_speaks() {
    use CaptureProtocol::{Auto, V0, V1};
    let old = Host::WithoutV1(404);
    let not_there = "V1 does not work here: unsupported (HTTP 404)";
    for (host, protocol, expected, seen) in [
        (Host::Cloud, V0, Pass, "V0 is set; V1 works here: CaptureProtocol::Auto would use it".to_owned()),
        (Host::Cloud, Auto, Pass, "V1 works; this client speaks V0 now (other_host)".to_owned()),
        (Host::Cloud, V1, Pass, "V1 works".to_owned()),
        (old, V0, Pass, format!("V0 is set; {not_there}")),
        (old, Auto, Warn, format!("this client speaks V0 now (other_host); {not_there}")),
        (old, V1, Fail, not_there.to_owned()),
    ] {
        let server = FakePostHog::start();
        server.set_host(host);
        let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url()).capture_protocol(protocol);
        let posthog = builder.build().unwrap();
        let report = posthog.preflight().await;
        let check = report.check(CheckId::CaptureV1).unwrap();
        assert_eq!((check.status, &check.seen), (expected, &seen), "{protocol:?} {host:?}");
        assert_eq!(server.request_count(Route::CaptureV1), 1);
        let requests = server.requests();
        let asked = requests.iter().find(|request| request.route == Route::CaptureV1).unwrap();
        assert_eq!(asked.header("authorization"), Some("Bearer phx_preflight"));
        posthog.shutdown(S(5)).await;
    }
}

/// What `build()` refuses is a failed check with its remedy, and the others still run.
#[tokio::test]
async fn a_builder_that_cannot_be_built_is_a_report() {
    let server = FakePostHog::start();
    let of = |token: &'static str| PostHog::builder(token).host(server.url());
    let report = of("phx_secret").preflight().await;
    assert_eq!(status(&report, CheckId::Token), Fail);
    assert_eq!(status(&report, CheckId::TokenAccepted), Skipped);
    assert_eq!(status(&report, CheckId::Http), Pass, "without a token it is only reached: {report}");
    let is_empty = |request: &Request| request.method == "GET" && request.body.is_empty();
    let of_no_project = |request: &Request| request.header("authorization") == Some("Bearer phx_preflight");
    assert!(server.requests().iter().all(|request| is_empty(request) || of_no_project(request)));

    let report = PostHog::builder(FakePostHog::TOKEN).host("http://posthog.example").preflight().await;
    assert_eq!(status(&report, CheckId::Host), Fail);
    assert_eq!(status(&report, CheckId::Http), Skipped);

    let report = of(FakePostHog::TOKEN).batch_events(0).preflight().await;
    let settings = report.check(CheckId::Settings).unwrap();
    assert_eq!((settings.status, settings.seen.as_str()), (Fail, "batch_events is 0"));
    assert!(settings.remedy.as_ref().unwrap().contains("1 to 10000"));
    assert_eq!(status(&report, CheckId::TokenAccepted), Pass);

    let report = of(FakePostHog::TOKEN).retry(RetryConfig::default().attempts(0)).preflight().await;
    assert_eq!(status(&report, CheckId::Settings), Fail);
}

#[tokio::test]
async fn where_the_token_comes_from() {
    let server = FakePostHog::start();
    let of = async |source: CredentialSource| PostHog::builder(source).host(server.url()).preflight().await;
    let literal = of(CredentialSource::fixed(FakePostHog::TOKEN)).await;
    let expected = if cfg!(debug_assertions) { Pass } else { Warn };
    assert_eq!(status(&literal, CheckId::TokenSource), expected);

    let vault =
        of(CredentialSource::provider(async || std::io::Result::Ok(FakePostHog::TOKEN.to_owned()))).await;
    assert_eq!([CheckId::TokenSource, CheckId::TokenAccepted].map(|id| status(&vault, id)), [Pass, Pass]);

    let closed = of(CredentialSource::provider(async || Err::<String, _>("phc_told_by_the_vault"))).await;
    assert_eq!(status(&closed, CheckId::Token), Fail);
    assert!(!closed.to_string().contains("told_by_the_vault"), "{closed}");
}

/// A vault that hangs takes its own time only.
#[tokio::test]
async fn a_provider_that_hangs_is_told_and_the_rest_is_looked_at() {
    let server = FakePostHog::start();
    let hangs = CredentialSource::provider(std::future::pending::<std::io::Result<String>>);
    let report = PostHog::builder(hangs).host(server.url()).preflight().await;
    assert!(report.took < S(15), "{report}");
    assert_eq!([CheckId::Token, CheckId::Http].map(|id| status(&report, id)), [Fail, Pass], "{report}");
}

#[tokio::test]
async fn the_key_of_local_evaluation_is_asked_about() {
    let server = FakePostHog::start();
    server.know_personal_key("phx_abc", &["feature_flag:read"], None);
    let builder = || PostHog::builder(FakePostHog::TOKEN).host(server.url());
    let posthog = builder().local_evaluation("phx_abc", S(30)).build().unwrap();
    let report = posthog.preflight().await;
    assert_eq!([CheckId::KeyScopes, CheckId::KeyUse].map(|id| status(&report, id)), [Pass, Pass], "{report}");
    assert_eq!(server.request_count(Route::PersonalApiKey), 1);

    server.personal_key().always(Reply::html());
    let report = posthog.preflight().await;
    assert_eq!(status(&report, CheckId::KeyScopes), Warn, "{report}");

    let report = builder().local_evaluation("phs_abc", S(30)).preflight().await;
    assert_eq!(status(&report, CheckId::KeyScopes), Skipped);
    let report = builder().preflight().secret_key("phx_abc").app_host("http://app.example").await;
    assert_eq!(status(&report, CheckId::KeyScopes), Fail, "not over http: {report}");
}

#[tokio::test]
async fn a_disabled_client_warns_and_asks_nobody() {
    let server = FakePostHog::start();
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).disabled(true).build().unwrap();
    let report = posthog.preflight().await;
    assert_eq!(status(&report, CheckId::Enabled), Warn);
    assert_eq!([CheckId::Token, CheckId::Http].map(|id| status(&report, id)), [Skipped, Skipped]);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_process_without_a_subscriber_is_told_of_it() {
    // No test of this binary installs one for all threads.
    let server = FakePostHog::start();
    let builder = || PostHog::builder(FakePostHog::TOKEN).host(server.url());
    assert_eq!(status(&builder().preflight().await, CheckId::Logs), Warn);
    let subscriber =
        tracing_subscriber::fmt().with_writer(std::io::sink).with_max_level(tracing::Level::INFO).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    assert_eq!(status(&builder().preflight().await, CheckId::Logs), Pass);
}

/// The secret key is looked up as the token is: a file, with its permissions.
#[tokio::test]
async fn a_secret_key_in_a_file_is_asked_about_and_its_permissions_are_looked_at() {
    let server = FakePostHog::start();
    server.know_personal_key(PERSONAL_KEY, &["feature_flag:read"], None);
    let place = tempfile::tempdir().unwrap();
    let path = secret_file(place.path(), "key", PERSONAL_KEY);
    let builder = || {
        let key = CredentialSource::file(&path);
        PostHog::builder(FakePostHog::TOKEN).host(server.url()).local_evaluation(key, S(3_600))
    };
    let looked_at = [CheckId::KeyScopes, CheckId::KeyUse, CheckId::SecretFiles];
    let report = builder().preflight().await;
    assert_eq!(looked_at.map(|id| status(&report, id)), [Pass; 3], "{report}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let posthog = builder().build().unwrap();
    let report = posthog.preflight().await;
    assert_eq!(looked_at.map(|id| status(&report, id)), [Pass, Pass, Warn], "{report}");
    let files = report.check(CheckId::SecretFiles).unwrap();
    assert!(files.seen.ends_with("the secret key's file 0644"), "{report}");
    posthog.shutdown(S(5)).await;
}

#[tokio::test]
async fn a_secret_key_that_is_not_given_is_told_and_the_rest_is_looked_at() {
    let server = FakePostHog::start();
    let place = tempfile::tempdir().unwrap();
    let fails = || CredentialSource::provider(async || Err::<String, _>("phx_told_by_the_vault"));
    let cases = [
        (CredentialSource::file(place.path().join("none")), "names a file that cannot be read"),
        (CredentialSource::environment("POSTHOG_HEALTH_NOT_SET"), "POSTHOG_HEALTH_NOT_SET is not set"),
        (CredentialSource::fixed(FakePostHog::TOKEN), "is a project token"),
        (fails(), "the provider failed"),
        (
            CredentialSource::provider(async || -> std::io::Result<String> { panic!("a defect") }),
            "the provider failed",
        ),
        (CredentialSource::provider(std::future::pending::<std::io::Result<String>>), "not read within 4 s"),
    ];
    for (source, seen) in cases {
        let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
        let report = builder.local_evaluation(source, S(3_600)).preflight().await;
        let scopes = report.check(CheckId::KeyScopes).unwrap();
        assert!(
            scopes.status == Fail && scopes.seen.contains(seen) && scopes.remedy.is_some(),
            "{seen}: {report}"
        );
        assert_eq!([CheckId::KeyUse, CheckId::TokenAccepted].map(|id| status(&report, id)), [Skipped, Pass]);
        assert!(report.took < S(15) && !report.to_string().contains("told_by_the_vault"), "{report}");
    }
    assert_eq!(server.request_count(Route::PersonalApiKey), 0);

    let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
    let posthog = builder.local_evaluation(fails(), S(3_600)).build().unwrap();
    let report = posthog.preflight().await;
    let scopes = report.check(CheckId::KeyScopes).unwrap();
    assert_eq!((scopes.status, scopes.seen.as_str()), (Fail, "the provider has given no secret key yet"));
    posthog.shutdown(S(5)).await;
}

/// The one that is named is asked about, wherever it comes from.
#[tokio::test]
async fn a_key_that_is_named_goes_before_that_of_local_evaluation() {
    let server = FakePostHog::start();
    server.know_personal_key(PERSONAL_KEY, &["query:read"], None);
    let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
    let preflight = builder.local_evaluation("phx_unknown", S(3_600)).preflight();
    let key = CredentialSource::provider(async || std::io::Result::Ok(PERSONAL_KEY.to_owned()));
    let report = preflight.secret_key(key).needed_scopes(["query:read"]).await;
    assert_eq!(status(&report, CheckId::KeyScopes), Pass, "{report}");
}

#[tokio::test]
async fn times_without_end_are_judged() {
    let server = FakePostHog::start();
    let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
    let preflight = builder.preflight().grace_period(Duration::MAX).shutdown_deadline(Duration::MAX);
    assert_eq!(status(&preflight.await, CheckId::Timeouts), Warn);
}

/// Whoever answers must not write onto somebody's terminal.
#[tokio::test]
async fn what_a_server_says_cannot_pass_for_the_report() {
    let server = FakePostHog::start();
    let route = json_server(
        r#"{"status":"degraded","posthog":{"connected":false},"reasons":[{"code":"\u001b[2J\u009b\n36 checks: PASS"}]}"#,
    )
    .await;
    let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
    let report = builder.preflight().health_url(route).await;
    assert_eq!(status(&report, CheckId::HealthRoute), Warn, "{report}");
    let table = report.to_string();
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table}");
    assert!(!table.contains("\n36 checks: PASS"), "{table}");
}
