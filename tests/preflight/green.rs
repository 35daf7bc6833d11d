use posthog_health::testing::{FakePostHog, Route};

use crate::{PERSONAL_KEY, asking, check, docs, json_server, report, secret_file, shown};

#[tokio::test]
async fn all_green_and_nothing_is_billed() {
    let server = FakePostHog::start();
    server.know_personal_key(PERSONAL_KEY, &["feature_flag:read"], None);
    let (docs, place) = (docs(), tempfile::tempdir().unwrap());
    let token = secret_file(place.path(), "token", FakePostHog::TOKEN);
    let key = secret_file(place.path(), "key", PERSONAL_KEY);
    let route = json_server(r#"{"status":"healthy","posthog":{"connected":true,"latencyMs":3}}"#).await;
    let status = json_server(r#"{"page_title":"PostHog","ongoing_incidents":[]}"#).await;
    let mut command = asking(&server);
    command.env_remove("POSTHOG_API_KEY").env("POSTHOG_API_KEY_FILE", &token);
    command.env("POSTHOG_PERSONAL_API_KEY_FILE", &key);
    command.args(["--strict", "--event-rate", "100", "--grace-period", "25"]);
    command.args(["--health-url", &route]).arg(format!("--status-page={status}"));
    command.arg("--docs").arg(docs.path()).arg("--spool").arg(place.path().join("spool"));
    let (code, report) = report(&mut command).await;

    assert_eq!((code, &report["verdict"]), (0, &"pass".into()), "{report:#}");
    let skipped: Vec<_> = report["sections"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|section| section["items"].as_array().unwrap())
        .flat_map(|item| item["checks"].as_array().unwrap())
        .filter(|check| check["status"] != "pass")
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    let not_here = [
        "webhook.url",
        "webhook.certificate",
        "webhook.secret",
        "integration.logs",
        "network.tls",
        "network.certificate",
        "integration.test_event",
    ];
    assert_eq!(skipped, not_here, "{report:#}");
    assert_eq!((server.accepted(), server.billable_flag_requests()), (0, 0));
    assert_eq!((server.request_count(Route::Flags), server.request_count(Route::Batch)), (5, 0));
    assert!(!place.path().join("spool").exists(), "what was missing is missing again");
}

#[tokio::test]
async fn with_the_defaults_it_passes_and_the_table_is_plain() {
    let server = FakePostHog::start();
    let docs = docs();
    let output = asking(&server).arg("--docs").arg(docs.path()).output().await.unwrap();
    let table = shown(&output);
    assert!(output.status.success() && table.ends_with("skipped. PASS\n"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colour but on a terminal: {table}");
    assert!(table.starts_with("1. Pre-Deployment Configuration\n   Production API keys in a secure vault\n"));
    assert!(output.stderr.is_empty());
}

#[tokio::test]
async fn a_test_event_is_sent_when_asked_for_and_only_then() {
    let server = FakePostHog::start();
    let (code, report) = report(asking(&server).arg("--send-test-event")).await;
    assert_eq!(
        (code, &check(&report, "integration.test_event")["status"]),
        (0, &"pass".into()),
        "{report:#}"
    );
    assert_eq!(server.events()[0]["event"], "posthog_health_preflight");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn arguments_that_cannot_be_read_are_a_failure() {
    let output = crate::command().arg("--no-such-thing").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
}
