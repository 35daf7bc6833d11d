use posthog_health::PostHog;
use posthog_health::preflight::Preflight;
use posthog_health::testing::FakePostHog;

use crate::{PERSONAL_KEY, WEBHOOK_SECRET, asking, command, shown};

const PROXY_PASSWORD: &str = "proxyPassword123";

fn assert_no_secret(text: &str) {
    assert!(text.contains("config.token"), "there is something to look at: {text}");
    for secret in [FakePostHog::TOKEN, PERSONAL_KEY, WEBHOOK_SECRET, PROXY_PASSWORD] {
        // No part of it either.
        for part in [secret, &secret[4..], &secret[..secret.len() - 3]] {
            assert!(!text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_a_report_of_the_command() {
    let server = FakePostHog::start();
    server.know_personal_key(PERSONAL_KEY, &["*"], None);
    let through_a_proxy = |json: bool| {
        let mut command = command();
        command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST", "https://posthog.invalid");
        command.env("HTTPS_PROXY", format!("http://proxyuser:{PROXY_PASSWORD}@127.0.0.1:1"));
        command.args(json.then_some("--json"));
        command
    };
    let directly = |json: bool| {
        let mut command = asking(&server);
        command.args(json.then_some("--json"));
        command
    };
    for mut command in [through_a_proxy(false), through_a_proxy(true), directly(false), directly(true)] {
        command.env("POSTHOG_PERSONAL_API_KEY", PERSONAL_KEY).env("POSTHOG_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command.args(["--webhook-url", "https://127.0.0.1:1/hook", "--send-test-event"]);
        let output = command.output().await.unwrap();
        assert_no_secret(&shown(&output));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_proxy_is_named_and_what_is_direct_is_not_looked_at() {
    let mut command = command();
    command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST", "https://posthog.invalid");
    command.env("HTTPS_PROXY", format!("http://proxyuser:{PROXY_PASSWORD}@127.0.0.1:1"));
    let (code, report) = crate::report(&mut command).await;
    let seen = |id| crate::check(&report, id)["seen"].as_str().unwrap();
    assert_eq!(code, 2);
    assert!(seen("network.proxy").starts_with("goes through 127.0.0.1:1 "), "{report:#}");
    for id in ["network.dns", "network.tcp", "network.tls", "network.certificate"] {
        assert!(seen(id).starts_with("through a proxy"), "{id}: {report:#}");
    }
    assert_eq!(crate::check(&report, "network.http")["status"], "fail");
}

/// A server that gives back what it was given.
#[tokio::test]
async fn nor_when_the_server_repeats_the_key() {
    let server = FakePostHog::start();
    server.know_personal_key(PERSONAL_KEY, &["feature_flag:read", PERSONAL_KEY], Some(PERSONAL_KEY));
    let output = asking(&server).env("POSTHOG_PERSONAL_API_KEY", PERSONAL_KEY).output().await.unwrap();
    assert_no_secret(&shown(&output));
    assert!(shown(&output).contains("the key could not be asked about"), "{}", shown(&output));
}

#[tokio::test]
async fn nor_in_one_of_the_library() {
    let server = FakePostHog::start();
    let preflights: [fn(&FakePostHog) -> Preflight; 2] = [
        |server| PostHog::builder(FakePostHog::TOKEN).host(server.url()).preflight(),
        |server| PostHog::builder(FakePostHog::TOKEN).host(server.url()).build().unwrap().preflight(),
    ];
    for preflight in preflights {
        let preflight = preflight(&server)
            .secret_key(PERSONAL_KEY)
            .webhook_url("https://127.0.0.1:1/hook")
            .webhook_secret(WEBHOOK_SECRET);
        assert!(!format!("{preflight:?}").contains("Fake"));
        let report = preflight.await;
        assert_no_secret(&report.to_string());
        assert_no_secret(&report.colored().to_string());
        assert_no_secret(&serde_json::to_string(&report).unwrap());
        assert_no_secret(&format!("{report:?} config.token"));
    }
}
