//! What to do about events that PostHog rejects: a bad event costs one event, the others arrive; it outlives the
//! process; it can be looked at, exported, and sent again when the cause is gone.
//!
//! `cargo run --example dead_letters`

use std::path::Path;
use std::time::Duration;

use posthog_health::testing::FakePostHog;
use posthog_health::{Event, PostHog, SpoolConfig, SpoolState};
use tokio::time::{sleep, timeout};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir()?);

    println!("# 14:00  PostHog rejects \"order refunded\", and with one such event its whole batch.");
    server.reject_events_named(&["order refunded"]);
    let posthog = start(&server, directory.path()).await?;
    for (name, user) in [("order placed", "ann"), ("order refunded", "bob"), ("order placed", "cem")] {
        posthog.capture(Event::new(name, user));
    }
    if let Err(error) = posthog.flush().await {
        println!("{error}");
    }
    println!("{}", posthog.stats());
    println!("The others arrived. health: {}\n", posthog.health());

    println!("# 14:05  The service is deployed: the process ends.");
    let report = posthog.shutdown(Duration::from_secs(5)).await;
    println!("{} dead letter lies on disk.\n", report.dead_letters);

    println!("# 14:06  The next process has it, with what PostHog said. Exported, a JSON object a line:");
    let posthog = start(&server, directory.path()).await?;
    for letter in posthog.dead_letters() {
        println!("{}", serde_json::to_string(&letter)?);
    }

    println!("\n# 14:30  The cause is found and fixed. What was set aside is sent again, as of 14:00.");
    server.reject_events_named(&[]);
    let replayed = posthog.replay_dead_letters();
    posthog.flush().await?;
    println!("{replayed} replayed, {} left.", posthog.dead_letters().len());
    for event in server.events() {
        println!("PostHog has: {} by {} at {}", event["event"], event["distinct_id"], event["timestamp"]);
    }

    posthog.shutdown(Duration::from_secs(5)).await;
    println!("\nledger: {}", posthog.stats());
    Ok(())
}

/// Starts a client and waits until it knows what is on disk: a service need not.
async fn start(server: &FakePostHog, directory: &Path) -> Outcome<PostHog> {
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(server.url())
        .spool(SpoolConfig::at(directory))
        .linger(Duration::from_millis(100))
        .build()?;
    let is_open = async {
        while posthog.health().spool.is_none_or(|spool| spool.state != SpoolState::Ready) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), is_open).await?;
    Ok(posthog)
}
