//! A key rotation under load, without a restart: the project token is revoked, the mounted secret changes a moment
//! later, and every event arrives. Meanwhile the secret key of local evaluation is rotated, and then its backup deleted:
//! every flag is evaluated here all the time.
//!
//! `cargo run --example rotate_key`. It plays PostHog itself, on this machine. `docs/key-rotation.md` has the procedure
//! for the real one, which does not say 401 to a batch of a revoked token.

use std::fs;
use std::path::Path;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Request, Route};
use posthog_health::{CredentialSource, Event, FlagOptions, FlagSource, PostHog};
use tokio::time::{Instant, interval, sleep};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const NEW_SECRET_KEY: &str = "phs_newNewNewNewNewNewNewNewNewNewNewNewNewNewNe";
const NEW_TOKEN: &str = "phc_newNewNewNewNewNewNewNewNewNewNewNewNewNewNe";

#[tokio::main]
async fn main() -> Outcome {
    let (server, mount) = (FakePostHog::start(), tempfile::tempdir()?);
    let secret = mount.path().join("project-token");
    fs::write(&secret, FakePostHog::TOKEN)?;
    let secret_key = mount.path().join("secret-key");
    fs::write(&secret_key, FakePostHog::SECRET_KEY)?;
    server.set_flag("new-checkout", true);
    let posthog = PostHog::builder(CredentialSource::file(&secret))
        .host(server.url())
        .linger(Duration::from_millis(100))
        .local_evaluation(CredentialSource::file(&secret_key), Duration::from_secs(1))
        .build()?;
    while !is_local(&posthog).await {
        sleep(Duration::from_millis(10)).await;
    }
    let start = Instant::now();
    let tell = |what: String| println!("{:4.1} s  {what}", start.elapsed().as_secs_f64());
    let traffic = tokio::spawn(capture_1000_a_second(posthog.clone(), Duration::from_secs(6)));

    tell("traffic: 1,000 events a second for 6 s".into());
    sleep(Duration::from_secs(2)).await;
    tell(format!("health: {}", words(&posthog).await));

    server.know_token(NEW_TOKEN);
    server.revoke_token(FakePostHog::TOKEN);
    tell("the project token is reset: PostHog refuses the old one".into());
    sleep(Duration::from_millis(1_500)).await;
    tell(format!("health: {}", words(&posthog).await));
    for alert in posthog.alerts() {
        tell(format!("alert: {alert}"));
    }

    swap(&secret, NEW_TOKEN)?;
    tell("the mounted secret changes: noticed within 10 s, or when the old token is refused again".into());
    while !posthog.health_check().await.is_healthy() {
        sleep(Duration::from_millis(50)).await;
    }
    tell(format!("health: {}", words(&posthog).await));

    server.know_secret_key(NEW_SECRET_KEY);
    swap(&secret_key, NEW_SECRET_KEY)?;
    posthog.reload_credentials().await?;
    tell(
        "the secret key is rotated, the old one is the backup now; reload_credentials() takes the new one"
            .into(),
    );
    while !server.requests().iter().any(|request| is_fetch_with(request, NEW_SECRET_KEY)) {
        sleep(Duration::from_millis(50)).await;
    }
    server.forget_secret_key(FakePostHog::SECRET_KEY);
    tell("definitions are fetched with the new secret key; the backup is deleted".into());
    sleep(Duration::from_millis(1_500)).await;
    tell(format!("flags are evaluated here: {}", is_local(&posthog).await));

    traffic.await?;
    posthog.flush().await?;
    posthog.shutdown(Duration::from_secs(5)).await;
    let (ledger, arrived) = (posthog.stats(), server.distinct());
    let twice = server.accepted() - arrived;
    println!("\nledger: {ledger}");
    println!("lost={} twice={twice} arrived={arrived}", ledger.captured - arrived as u64);
    Ok(())
}

async fn capture_1000_a_second(posthog: PostHog, time: Duration) {
    let mut tick = interval(Duration::from_millis(10));
    for n in 0..time.as_millis() / 10 {
        tick.tick().await;
        (0..10)
            .for_each(|_| posthog.capture(Event::new("page viewed".to_owned(), format!("user-{}", n % 100))));
    }
}

async fn is_local(posthog: &PostHog) -> bool {
    let flags = posthog.flags("user-1", FlagOptions::default()).await;
    matches!(flags.source("new-checkout"), FlagSource::Local { .. })
}

fn is_fetch_with(request: &Request, key: &str) -> bool {
    let authorization = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    request.route == Route::Definitions && authorization == Some(key)
}

async fn words(posthog: &PostHog) -> String {
    let report = posthog.health_check().await;
    let reasons: Vec<_> = report.reasons.iter().map(|reason| reason.code()).collect();
    format!("{:?} {reasons:?}, {} events wait", report.status, report.ledger.queued)
}

/// As Kubernetes does: the file is never half written.
fn swap(secret: &Path, token: &str) -> std::io::Result<()> {
    let next = secret.with_extension("next");
    fs::write(&next, token)?;
    fs::rename(next, secret)
}
