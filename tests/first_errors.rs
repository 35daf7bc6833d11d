//! The errors that a newcomer meets first: each names what is wrong and what to do, word for word.
//!
//! Those of the compiler: `compile_fail` in the documentation of `AnyEvent` and of `layers`.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{CredentialSource, PostHog, PostHogBuilder, Reason, TypedEvent};
use support::{MS, builder, capture, event};

fn refusal(builder: PostHogBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn no_runtime() {
    assert_eq!(
        refusal(PostHog::builder("phc_abc")),
        "build() was called outside a tokio runtime: call it in async code (#[tokio::main]), on a runtime that \
         runs as long as the client is used"
    );
}

/// It is given time and I/O by `enable_all` only.
#[test]
fn a_runtime_without_timers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let posthog = runtime.block_on(async { PostHog::builder("phc_abc").build().unwrap() });
    posthog.capture(event(0));
    runtime.block_on(async {
        while posthog.health().reasons != [Reason::WorkerStopped] {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(
        Reason::WorkerStopped.detail(),
        "the delivery task is gone or does not run: its runtime has ended, is blocked or never ran, or lacks timers or \
         I/O: restart"
    );
}

#[tokio::test]
async fn no_token_or_a_key_of_another_kind() {
    let with = |token: &str| refusal(PostHog::builder(token));
    assert_eq!(
        with(""),
        "project_token is empty: copy it from PostHog's project settings (it begins with phc_)"
    );
    for (key, kind) in [
        ("phx_secret", "a personal API key (phx_…)"),
        ("phs_secret", "a project secret API key (phs_…)"),
        ("pha_secret", "an OAuth access token (pha_…)"),
    ] {
        assert_eq!(
            with(key),
            format!(
                "project_token is {kind}: use the project token (phc_…), and revoke this key if it was sent anywhere"
            )
        );
    }
    assert_eq!(
        with("$POSTHOG_API_KEY"),
        "project_token has quotes, braces or the like in it: take away the quotes, or fill in the placeholder or \
         variable that it is"
    );
    let local = PostHog::builder("phc_abc").local_evaluation("phc_abc", Duration::from_secs(30));
    assert_eq!(
        refusal(local),
        "secret_key is a project token (phc_…): give it a personal API key (phx_…) or a project secret API key (phs_…)"
    );
    let nowhere = CredentialSource::environment("POSTHOG_HEALTH_TEST_HAS_NO_SUCH_VARIABLE");
    assert!(refusal(PostHog::builder(nowhere)).contains("is not set: set it"));
}

#[tokio::test]
async fn a_host_that_cannot_be() {
    let at = |host: &str| refusal(PostHog::builder("phc_abc").host(host));
    for (host, says) in [
        (
            "http://posthog.example.com",
            "host is plain http, which shows every event to the network: use https://, or call \
             allow_insecure_http(true) if the network is yours",
        ),
        (
            "eu.posthog.com",
            "host is not a URL: use \"us\", \"eu\", or a URL such as https://us.i.posthog.com",
        ),
        (
            "localhost:8000",
            "host has the scheme \"localhost\": begin it with https://, or http:// if it is this machine",
        ),
        (
            "https://eu.posthog.com/project/123",
            "host has the path \"/project/123\", and PostHog Cloud has none: end it after the host name",
        ),
        (
            "https://eu.i.posthog.com/batch/",
            "host has the path \"/batch\", which is one of PostHog's endpoints: end it before that: endpoints are \
             added to it",
        ),
    ] {
        assert_eq!(at(host), says);
    }
}

/// The test itself runs in a process that finds no certificates.
#[cfg(target_os = "linux")] // Elsewhere they are no files.
#[tokio::test]
async fn an_image_without_ca_certificates() {
    const NOWHERE: &str = "/nonexistent/certificates";
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != NOWHERE) {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "an_image_without_ca_certificates", "--nocapture"]);
        let status = command.env("SSL_CERT_FILE", NOWHERE).env("SSL_CERT_DIR", NOWHERE).status().unwrap();
        assert!(status.success());
        return;
    }
    assert_eq!(
        refusal(PostHog::builder("phc_abc")),
        "TLS cannot be set up (builder error: unexpected error: No CA certificates were loaded from the system): install \
         CA certificates (the package ca-certificates), or name a file of them in SSL_CERT_FILE"
    );
    // Without TLS none are needed.
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 1);
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 1);
    posthog.sdk().await.unwrap().capture(event(1));
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 2, "{}", posthog.stats());
    assert!(PostHog::builder("phc_abc").host("http://relay.test").allow_insecure_http(true).build().is_ok());
}

/// The app's host is taken for the ingestion host that belongs to it; what answers otherwise is told.
#[tokio::test]
async fn a_host_that_is_not_posthog() {
    let app = PostHog::builder("phc_abc").host("https://eu.posthog.com").build();
    assert!(app.is_ok());
    let server = FakePostHog::start();
    server.always(Reply::html());
    let report = builder(&server).build().unwrap().health_check().await;
    assert_eq!(report.reasons, [Reason::WrongHost]);
    let says = "something answers that is not PostHog: check the host; events are kept meanwhile";
    assert!(report.to_json().contains(says), "{report}");
}

#[tokio::test]
async fn a_token_that_posthog_does_not_know() {
    let server = FakePostHog::start();
    let unknown = PostHog::builder("phc_your_project_token").host(server.url()).build().unwrap();
    let report = unknown.health_check().await;
    let says = "PostHog does not accept the project token: check it; events are kept meanwhile";
    assert!(report.to_json().contains(says), "{report}");
}

#[tokio::test]
async fn properties_that_are_no_object() {
    let says = |properties: serde_json::Value| {
        TypedEvent::new("order placed", "user-123", &properties).unwrap_err().to_string()
    };
    assert_eq!(
        says([1, 2].as_slice().into()),
        "properties are an array, not a JSON object: use a struct with named fields, or a map"
    );
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    assert_eq!(
        posthog.set("user-123", 1).unwrap_err().to_string(),
        "Serialization Error: set() properties must be a JSON object"
    );
}

#[tokio::test]
async fn a_flush_that_runs_out_of_time() {
    let server = FakePostHog::start();
    server.refuse();
    let posthog = builder(&server).flush_timeout(MS(10)).build().unwrap();
    capture(&posthog, 3);
    assert_eq!(
        posthog.flush().await.unwrap_err().to_string(),
        "flush timed out with 3 events undelivered: they are kept, and health() says why"
    );
}

#[cfg(feature = "spool")]
#[tokio::test]
async fn a_durable_event_without_a_spool() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    assert_eq!(
        posthog.capture_durable(event(0)).await.unwrap_err().to_string(),
        "the event was not taken: spool_unavailable; PostHogBuilder::spool gives the client a spool, and `spool.issue` \
         in its health says why one fails"
    );
}

#[tokio::test]
async fn a_layer_that_cannot_work() {
    use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
    let config = CircuitBreakerConfig::default().open_time(Duration::ZERO, Duration::ZERO);
    let error = CircuitBreakerLayer::new(config, HttpStatus::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(": use "), "{error}");
}
