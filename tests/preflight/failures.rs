//! One run for each failure: which check tells it, how, and what it says to do.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Host, Reply, Route};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{PERSONAL_KEY, asking, check, docs, json_server, report, secret_file};

/// The longest that the whole may take, and what a process needs to start and end on a busy machine.
const WHOLE: Duration = Duration::from_secs(15 + 10);

struct Failure {
    name: &'static str,
    /// Makes it: by the server, the command, or files.
    make: fn(&FakePostHog, &mut Command, &Path),
    check: &'static str,
    status: &'static str,
    /// Exit code under `--strict`.
    code: i32,
    seen: &'static str,
    remedy: &'static str,
}

fn set(command: &mut Command, name: &str, value: &str) {
    command.env(name, value);
}

#[rustfmt::skip]
const FAILURES: &[Failure] = &[
    Failure { name: "a token that PostHog does not know",
        make: |server, _, _| server.forget_token(FakePostHog::TOKEN),
        check: "config.token_accepted", status: "fail", code: 2,
        seen: "PostHog does not know it (HTTP 401", remedy: "project settings" },
    Failure { name: "no token",
        make: |_, command, _| { command.env_remove("POSTHOG_API_KEY"); },
        check: "config.token", status: "fail", code: 2,
        seen: "POSTHOG_API_KEY is not set", remedy: "POSTHOG_API_KEY_FILE" },
    Failure { name: "a personal key",
        make: |_, command, _| set(command, "POSTHOG_API_KEY", PERSONAL_KEY),
        check: "config.token", status: "fail", code: 2,
        seen: "is a personal API key (phx_…)", remedy: "use the project token (phc_…)" },
    Failure { name: "a project secret key",
        make: |_, command, _| set(command, "POSTHOG_API_KEY", "phs_abcabcabcabc"),
        check: "config.token", status: "fail", code: 2,
        seen: "is a project secret API key (phs_…)", remedy: "use the project token (phc_…)" },
    Failure { name: "a placeholder",
        make: |_, command, _| set(command, "POSTHOG_API_KEY", "phc_your_project_token"),
        check: "config.token", status: "fail", code: 2,
        seen: "looks like a placeholder", remedy: "Project API key" },
    Failure { name: "a token's file that is not there",
        make: |_, command, place| { command.env_remove("POSTHOG_API_KEY").env("POSTHOG_API_KEY_FILE", place.join("none")); },
        check: "config.token", status: "fail", code: 2,
        seen: "POSTHOG_API_KEY_FILE names a file that cannot be read", remedy: "the mount and the permissions" },
    Failure { name: "a token's file that hangs",
        make: |_, command, place| { command.env_remove("POSTHOG_API_KEY").env("POSTHOG_API_KEY_FILE", pipe(place, "token")); },
        check: "config.token", status: "fail", code: 2,
        seen: "not read within 4 s", remedy: "the mount that it comes from" },
    Failure { name: "pages that hang",
        make: |_, command, place| {
            pipe(place, "runbook.md");
            command.arg("--docs").arg(place);
        },
        check: "docs.runbook", status: "fail", code: 2,
        seen: "no result within 4 s", remedy: "something hangs" },
    Failure { name: "a token's file that everybody reads",
        make: |_, command, place| with_token_file(command, place, 0o644),
        check: "config.secret_files", status: "warn", code: 1,
        seen: "anybody on the machine can read it: the project token's file 0644", remedy: "defaultMode: 0440" },
    Failure { name: "a token's file that everybody writes",
        make: |_, command, place| with_token_file(command, place, 0o666),
        check: "config.secret_files", status: "fail", code: 2,
        seen: "anybody can write it: the project token's file 0666", remedy: "chmod 0400" },
    Failure { name: "two sources of the token",
        make: |_, command, place| { command.env("POSTHOG_API_KEY_FILE", place); },
        check: "config.settings", status: "fail", code: 2,
        seen: "POSTHOG_API_KEY is set, and POSTHOG_API_KEY_FILE is set too", remedy: "set one of them" },
    Failure { name: "a disabled client",
        make: |_, command, _| set(command, "POSTHOG_DISABLED", "1"),
        check: "config.enabled", status: "warn", code: 1,
        seen: "nothing is sent", remedy: "unset POSTHOG_DISABLED" },
    Failure { name: "an http host",
        make: |_, command, _| set(command, "POSTHOG_HOST", "http://posthog.example"),
        check: "config.host", status: "fail", code: 2,
        seen: "host is plain http", remedy: "use https://" },
    Failure { name: "a host with an endpoint's path",
        make: |_, command, _| set(command, "POSTHOG_HOST", "https://us.i.posthog.com/batch/"),
        check: "config.host", status: "fail", code: 2,
        seen: "one of PostHog's endpoints", remedy: "end it before that" },
    Failure { name: "nobody listens",
        make: |server, _, _| server.refuse(),
        check: "network.tcp", status: "fail", code: 2,
        seen: "refused", remedy: "network policy" },
    Failure { name: "nobody listens, said of the token",
        make: |server, _, _| server.refuse(),
        check: "config.token_accepted", status: "skipped", code: 2,
        seen: "PostHog could not be asked: cannot connect", remedy: "" },
    Failure { name: "a name that does not resolve",
        make: |_, command, _| set(command, "POSTHOG_HOST", "https://posthog.invalid"),
        check: "network.dns", status: "fail", code: 2,
        seen: "posthog.invalid", remedy: "resolver" },
    Failure { name: "a hanging server",
        make: |server, _, _| server.always(Reply::hang()),
        check: "network.http", status: "fail", code: 2,
        seen: "no answer in time", remedy: "something drops packets or hangs" },
    Failure { name: "a server that hangs after the headers",
        make: |server, _, _| server.always(Reply::hang_after_headers()),
        check: "network.http", status: "fail", code: 2,
        seen: "no answer in time", remedy: "something drops packets or hangs" },
    Failure { name: "a server that resets",
        make: |server, _, _| server.always(Reply::reset()),
        check: "network.http", status: "fail", code: 2,
        seen: "the connection broke off", remedy: "firewall" },
    Failure { name: "an outage",
        make: |server, _, _| server.always(Reply::status(503)),
        check: "network.http", status: "fail", code: 2,
        seen: "HTTP 503", remedy: "status page" },
    Failure { name: "a rate limit",
        make: |server, _, _| server.always(Reply::status(429)),
        check: "network.http", status: "warn", code: 1,
        seen: "HTTP 429", remedy: "wait" },
    Failure { name: "an HTML page",
        make: |server, _, _| server.always(Reply::html()),
        check: "network.answer", status: "fail", code: 2,
        seen: "an HTML page", remedy: "on a captive network sign in" },
    Failure { name: "a captive portal's redirect",
        make: |server, _, _| server.always(Reply::redirect("https://portal.example/login?session=1")),
        check: "network.answer", status: "fail", code: 2,
        seen: "a redirect to portal.example: not PostHog", remedy: "set POSTHOG_HOST" },
    Failure { name: "another service's JSON",
        make: |server, _, _| server.always(Reply::status(200).body("{}")),
        check: "network.answer", status: "fail", code: 2,
        seen: "nothing of PostHog's in it", remedy: "set POSTHOG_HOST" },
    Failure { name: "a slow server",
        make: |server, _, _| server.always(Reply::normal().delayed(Duration::from_millis(1_100))),
        check: "network.latency", status: "warn", code: 1,
        seen: "the slowest of 5", remedy: "region" },
    Failure { name: "no V1, in the mode V1",
        make: |server, command, _| { server.set_host(Host::WithoutV1(404)); set(command, "POSTHOG_CAPTURE_MODE", "v1"); },
        check: "network.capture_v1", status: "fail", code: 2,
        seen: "V1 does not work here: unsupported", remedy: "CaptureProtocol::Auto" },
    Failure { name: "a proxy that strips headers, in the mode auto",
        make: |server, command, _| { server.set_host(Host::StripsPostHogHeaders); set(command, "POSTHOG_CAPTURE_MODE", "auto"); },
        check: "network.capture_v1", status: "warn", code: 1,
        seen: "events go by V0; V1 does not work here: headers_stripped (HTTP 400): request is missing required headers: [\"PostHog-Sdk-Info\"",
        remedy: "let the proxy pass" },
    Failure { name: "a proxy that strips the token, in the mode V1",
        make: |server, command, _| { server.set_host(Host::StripsAuthorization); set(command, "POSTHOG_CAPTURE_MODE", "v1"); },
        check: "network.capture_v1", status: "fail", code: 2,
        seen: "headers_stripped (HTTP 401): request is missing the Authorization header", remedy: "let the proxy pass Authorization" },
    Failure { name: "a gateway with JSON of its own, in the mode V1",
        make: |server, command, _| {
            server.capture_v1().always(Reply::status(403).body(r#"{"error":"Forbidden"}"#));
            set(command, "POSTHOG_CAPTURE_MODE", "v1");
        },
        check: "network.capture_v1", status: "fail", code: 2,
        seen: "V1 does not work here: unsupported (HTTP 403)", remedy: "CaptureProtocol::Auto" },
    Failure { name: "an outage, said of V1",
        make: |server, command, _| { server.always(Reply::error(503, "service_unavailable")); set(command, "POSTHOG_CAPTURE_MODE", "v1"); },
        check: "network.capture_v1", status: "skipped", code: 2,
        seen: "PostHog could not be asked", remedy: "" },
    Failure { name: "a clock behind",
        make: |server, _, _| server.set_clock_ahead(60),
        check: "network.clock", status: "warn", code: 1,
        seen: "s behind the server's", remedy: "NTP" },
    Failure { name: "a clock ahead",
        make: |server, _, _| server.set_clock_ahead(-60),
        check: "network.clock", status: "warn", code: 1,
        seen: "s ahead of the server's", remedy: "NTP" },
    Failure { name: "an over-scoped key",
        make: |server, command, _| with_key(server, command, &["feature_flag:read", "person:write"], None),
        check: "config.key_scopes", status: "warn", code: 1,
        seen: "not needed: person:write", remedy: "create a key with these scopes only" },
    Failure { name: "a key that may do everything",
        make: |server, command, _| with_key(server, command, &["*"], None),
        check: "config.key_scopes", status: "warn", code: 1,
        seen: "the key may do everything (*)", remedy: "feature_flag:read" },
    Failure { name: "a key without the scope",
        make: |server, command, _| with_key(server, command, &["query:read"], None),
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "missing: feature_flag:read", remedy: "create a key that has them" },
    Failure { name: "a key that was deleted",
        make: |_, command, _| set(command, "POSTHOG_PERSONAL_API_KEY", PERSONAL_KEY),
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "PostHog does not know the key", remedy: "Personal API keys" },
    Failure { name: "a key unused for long",
        make: |server, command, _| with_key(server, command, &["feature_flag:read"], Some("2020-01-01T00:00:00Z")),
        check: "config.key_use", status: "warn", code: 1,
        seen: "unused for", remedy: "delete it in PostHog" },
    Failure { name: "the project token as the personal key",
        make: |_, command, _| set(command, "POSTHOG_PERSONAL_API_KEY", FakePostHog::TOKEN),
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "is a project token (phc_…)", remedy: "phx_" },
    Failure { name: "a key's file that is not there",
        make: |_, command, place| { command.env("POSTHOG_PERSONAL_API_KEY_FILE", place.join("none")); },
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "names a file that cannot be read", remedy: "the mount and the permissions" },
    Failure { name: "a key's file that hangs",
        make: |_, command, place| { command.env("POSTHOG_PERSONAL_API_KEY_FILE", pipe(place, "key")); },
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "not read within 4 s", remedy: "the mount that it comes from" },
    Failure { name: "a key that is not UTF-8",
        make: |_, command, _| { command.env("POSTHOG_PERSONAL_API_KEY", OsStr::from_bytes(b"phx_\xff")); },
        check: "config.key_scopes", status: "fail", code: 2,
        seen: "POSTHOG_PERSONAL_API_KEY is not UTF-8", remedy: "set it again" },
    Failure { name: "a webhook's secret that the service would refuse",
        make: |_, command, _| set(command, "POSTHOG_WEBHOOK_SECRET", "whsec_ZmFrZUZha2VGYWtlRmFrZUZha2U="),
        check: "webhook.secret", status: "fail", code: 2,
        seen: "20 bytes", remedy: "openssl rand -base64 32" },
    Failure { name: "a webhook's secret that is not UTF-8",
        make: |_, command, _| { command.env("POSTHOG_WEBHOOK_SECRET", OsStr::from_bytes(b"whsec_\xff")); },
        check: "webhook.secret", status: "fail", code: 2,
        seen: "no base64", remedy: "openssl rand -base64 32" },
    Failure { name: "an event rate that is none",
        make: |_, command, _| { command.arg("--event-rate=-100"); },
        check: "integration.queue", status: "fail", code: 2,
        seen: "-100 events/s", remedy: "--event-rate" },
    Failure { name: "an unwritable spool",
        make: |_, command, place| {
            // Where a file is, no directory can be: that holds for root too.
            fs::write(place.join("taken"), "").unwrap();
            command.arg("--spool").arg(place.join("taken").join("spool"));
        },
        check: "integration.spool", status: "fail", code: 2,
        seen: "a file cannot be written and synced there", remedy: "fsGroup" },
    Failure { name: "a spool that others look into",
        make: |_, command, place| {
            let spool = place.join("spool");
            fs::create_dir(&spool).unwrap();
            fs::set_permissions(&spool, fs::Permissions::from_mode(0o755)).unwrap();
            command.arg("--spool").arg(spool);
        },
        check: "integration.spool", status: "warn", code: 1,
        seen: "others may look into it (0755)", remedy: "chmod 0700" },
    Failure { name: "more events than can leave",
        make: |_, command, _| { command.args(["--event-rate", "6000"]); },
        check: "integration.queue", status: "fail", code: 2,
        seen: "6000 events/s come, 5000 can leave", remedy: "raise rate_limit" },
    Failure { name: "a queue for a few seconds",
        make: |_, command, _| { command.args(["--event-rate", "1000"]); },
        check: "integration.queue", status: "warn", code: 1,
        seen: "10 s of an outage fit into memory", remedy: "spool" },
    Failure { name: "a grace period that is too short",
        make: |_, command, _| { command.args(["--grace-period", "3"]); },
        check: "integration.timeouts", status: "fail", code: 2,
        seen: "the process is killed after 3s", remedy: "terminationGracePeriodSeconds" },
    Failure { name: "a health route that is not there",
        make: |server, command, _| { command.arg("--health-url").arg(server.url() + "/readyz"); },
        check: "integration.health_route", status: "fail", code: 2,
        seen: "HTTP 404", remedy: "HealthRoute::readiness" },
    Failure { name: "a webhook over http",
        make: |_, command, _| { command.args(["--webhook-url", "http://127.0.0.1:1/hook"]); },
        check: "webhook.url", status: "fail", code: 2,
        seen: "http, not https", remedy: "https://" },
    Failure { name: "a webhook at a private address",
        make: |_, command, _| { command.args(["--webhook-url", "https://127.0.0.1:1/hook"]); },
        check: "webhook.url", status: "fail", code: 2,
        seen: "127.0.0.1 is this machine", remedy: "public address" },
    Failure { name: "a webhook without a secret",
        make: |_, command, _| { command.args(["--webhook-url", "https://127.0.0.1:1/hook"]); },
        check: "webhook.secret", status: "fail", code: 2,
        seen: "no signing secret is set", remedy: "signing_secret" },
    Failure { name: "a runbook that is missing",
        make: |_, command, place| { command.arg("--docs").arg(place); },
        check: "docs.runbook", status: "fail", code: 2,
        seen: "runbook.md: entity not found", remedy: "write it there" },
    Failure { name: "a page that nobody has filled in",
        make: |_, command, place| {
            fs::write(place.join("escalation.md"), "# Escalation\n\n| P1 | <fill in: name, phone> |\n").unwrap();
            command.arg("--docs").arg(place);
        },
        check: "docs.escalation", status: "fail", code: 2,
        seen: "1 to fill in, the first in line 3: <fill in: name, phone>", remedy: "fill them in" },
    Failure { name: "a test event that is not taken",
        make: |server, command, _| {
            server.batch().always(Reply::status(503));
            command.arg("--send-test-event");
        },
        check: "integration.test_event", status: "fail", code: 2,
        seen: "the service is in trouble (HTTP 503)", remedy: "network's checks" },
    Failure { name: "a test event over the quota",
        make: |server, command, _| {
            server.limit_quota(true);
            command.arg("--send-test-event");
        },
        check: "integration.test_event", status: "fail", code: 2,
        seen: "taken and thrown away", remedy: "billing" },
];

/// A file that nobody writes: reading it takes for ever, as on a mount that hangs.
/// A key that PostHog knows, with these scopes.
fn with_key(server: &FakePostHog, command: &mut Command, scopes: &[&str], last_used_at: Option<&str>) {
    server.know_personal_key(PERSONAL_KEY, scopes, last_used_at);
    set(command, "POSTHOG_PERSONAL_API_KEY", PERSONAL_KEY);
}

fn pipe(place: &Path, name: &str) -> PathBuf {
    let path = place.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn with_token_file(command: &mut Command, place: &Path, mode: u32) {
    let token = secret_file(place, "token", FakePostHog::TOKEN);
    fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    command.env_remove("POSTHOG_API_KEY").env("POSTHOG_API_KEY_FILE", token);
}

#[tokio::test]
async fn each_failure_is_told_by_its_check_with_a_remedy_in_time() {
    let mut wrong = Vec::new();
    // A few at once: most of their time is waiting.
    for some in FAILURES.chunks(6) {
        let runs: JoinSet<_> = some.iter().map(told).collect();
        wrong.extend(runs.join_all().await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with how it is told.
async fn told(failure: &Failure) -> Option<String> {
    let (server, place) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let mut command = asking(&server);
    command.arg("--strict");
    (failure.make)(&server, &mut command, place.path());
    let (code, report) = timeout(WHOLE, report(&mut command)).await.expect(failure.name);
    let check = check(&report, failure.check);
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let is_told = check["status"] == failure.status
        && code == failure.code
        && text("seen").contains(failure.seen)
        && text("remedy").contains(failure.remedy)
        && report["took_ms"].as_u64().unwrap() <= 15_000
        && !text("why").is_empty();
    (!is_told).then(|| format!("{}: exit {code}, {check:#}", failure.name))
}

/// Beside what fails, all else is what it would have been.
#[tokio::test]
async fn a_hanging_server_delays_no_other_check() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let docs = docs();
    let mut command = asking(&server);
    command.arg("--docs").arg(docs.path());
    let (code, report) = timeout(WHOLE, report(&mut command)).await.expect("it ends");
    assert_eq!((code, server.request_count(Route::Flags)), (2, 1), "asked once, and not again");
    for id in ["config.token", "network.dns", "network.tcp", "docs.runbook", "integration.breaker"] {
        assert_eq!(check(&report, id)["status"], "pass", "{id}");
    }
}

#[tokio::test]
async fn the_status_page_and_our_own_view_tell_whose_it_is() {
    let server = FakePostHog::start();
    let clear = json_server(r#"{"page_title":"PostHog","ongoing_incidents":[]}"#).await;
    let incident = json_server(r#"{"ongoing_incidents":[{"name":"Ingestion is slow"}]}"#).await;
    let says = async |page: &str| {
        let (_, report) = report(asking(&server).arg(format!("--status-page={page}"))).await;
        let check = check(&report, "status.page");
        format!("{} {}", check["status"].as_str().unwrap(), check["seen"].as_str().unwrap())
    };
    assert_eq!(says(&clear).await, "pass all clear there");
    assert!(
        says(&incident).await.starts_with("warn connected here, 1 incident and 0 maintenances there: theirs")
    );
    server.always(Reply::html());
    assert_eq!(says(&clear).await, "warn all clear there, no connection here: probably ours");
    assert!(says(&incident).await.starts_with("warn no connection here, 1 incident"));
    assert!(says(&server.url()).await.starts_with("skipped the status page does not answer"));
}

/// What is read before there is a report.
#[tokio::test]
async fn an_environment_that_hangs_ends_too() {
    let place = tempfile::tempdir().unwrap();
    let mut command = crate::command();
    command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST_FILE", pipe(place.path(), "host"));
    let output = timeout(WHOLE, command.output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no report within 15 s"));
}
