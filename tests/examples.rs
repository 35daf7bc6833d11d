//! Examples that are proofs too: what they say at the end is what they are for.

use std::process::{Command, Output};

use posthog_health::testing::FakePostHog;

#[test]
fn with_a_key_the_quickstart_sends_one_event_and_shows_health() {
    let server = FakePostHog::start();
    let output = example("quickstart")
        .env("POSTHOG_API_KEY", FakePostHog::TOKEN)
        .env("POSTHOG_HOST", server.url())
        // A proxy that nobody listens at is not asked for this machine.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let shown = shown(&output);
    assert!(shown.contains(r#"{"status":"healthy","posthog":{"connected":true"#), "{shown}");
    assert!(
        shown.ends_with("ledger: captured=1 delivered=1 queued=0 dead_lettered=0 dropped=0\n"),
        "{shown}"
    );
    assert_eq!((server.distinct(), server.billable_flag_requests()), (1, 0));
}

#[test]
fn no_acknowledged_event_is_lost_when_processes_are_killed() {
    let output = example("crash_proof").args(["--", "--rounds", "3", "--seed", "1"]).output().unwrap();
    let shown = shown(&output);
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("rounds=3 acknowledged=") && last.ends_with(" lost=0 corrupt=0"), "{shown}");
    assert!(!last.contains("acknowledged=0 "), "{shown}");
}

#[test]
fn a_dead_letter_outlives_its_process_and_is_replayed() {
    let output = example("dead_letters").output().unwrap();
    let shown = shown(&output);
    assert!(shown.contains("captured=3 delivered=2 queued=0 dead_lettered=1 dropped=0"), "{shown}");
    assert!(shown.contains(r#""kind":"bad_request","status":400"#), "{shown}");
    assert!(
        shown.ends_with("ledger: captured=3 delivered=3 queued=0 dead_lettered=0 dropped=0\n"),
        "{shown}"
    );
}

#[test]
fn a_key_is_rotated_under_load_and_nothing_is_lost() {
    let output = example("rotate_key").output().unwrap();
    let shown = shown(&output);
    assert!(
        shown.contains(r#"Degraded ["unauthorized"]"#) && shown.contains("alert: P1 Auth Failures"),
        "{shown}"
    );
    assert!(shown.ends_with("\nlost=0 twice=0 arrived=6000\n"), "{shown}");
}

#[test]
fn a_receiver_lets_in_what_is_signed_and_handles_it_once() {
    let shown = shown(&example("webhook_receiver").output().unwrap());
    assert_eq!(shown.matches("handler: msg_").count(), 2, "{shown}");
    for refused in [
        "another body   401 bad_signature",
        "an hour old    401 too_old",
        "unsigned       401 missing_header",
    ] {
        assert!(shown.contains(refused), "{shown}");
    }
    assert!(shown.ends_with("\nsent=7 accepted=3 handled=2\n"), "{shown}");
}

#[test]
fn layers_guard_other_peoples_clients_and_handlers() {
    let last = |name| {
        let shown = shown(&example(name).output().unwrap());
        let last = shown.lines().last().unwrap().to_owned();
        assert!(!last.contains("rejected=0 "), "{name}: {shown}");
        last
    };
    let reqwest = last("layers_reqwest");
    assert!(reqwest.starts_with("answered=30 failed="), "{reqwest}");
    assert!(reqwest.ends_with(" requests=40 circuit=Closed"), "{reqwest}");
    assert_eq!(last("layers_hyper"), "calls=10 answered=10 retries=3");
    let tonic = last("layers_tonic");
    assert!(tonic.starts_with("answered=30 failed=") && tonic.ends_with(" circuit=Closed"), "{tonic}");
    let axum = last("layers_axum");
    assert!(axum.starts_with("handled=40 rejected=") && axum.ends_with(" circuit=Closed"), "{axum}");
    assert!(!axum.contains("limited=0 "), "{axum}");
    let per_host = last("layers_per_host");
    assert!(
        per_host.starts_with("ok=10 failed=8 rejected=") && per_host.ends_with(" others_failed=0"),
        "{per_host}"
    );
}

fn example(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--all-features", "--example", name]);
    command
}

/// What it printed. It must have ended well.
fn shown(output: &Output) -> String {
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown} {}", String::from_utf8_lossy(&output.stderr));
    shown
}
