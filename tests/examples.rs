//! The quickstart against a "real" project: what it does when `POSTHOG_API_KEY` is set.

use std::process::Command;

use posthog_health::testing::FakePostHog;

#[test]
fn with_a_key_the_quickstart_sends_one_event_and_shows_health() {
    let server = FakePostHog::start();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--all-features", "--example", "quickstart"])
        .env("POSTHOG_API_KEY", FakePostHog::TOKEN)
        .env("POSTHOG_HOST", server.url())
        // A proxy that nobody listens at is not asked for this machine.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown} {}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains(r#"{"status":"healthy","posthog":{"connected":true"#), "{shown}");
    assert!(
        shown.ends_with("ledger: captured=1 delivered=1 queued=0 dead_lettered=0 dropped=0\n"),
        "{shown}"
    );
    assert_eq!((server.distinct(), server.billable_flag_requests()), (1, 0));
}
