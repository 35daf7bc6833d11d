//! Shows what the library does, in ten seconds: events leave, PostHog fails, the circuit breaker opens,
//! health turns degraded, PostHog comes back, and every event is delivered but one, which PostHog drops with a verdict.
//!
//! `cargo run --example quickstart` plays PostHog itself, on this machine. With `POSTHOG_API_KEY` set (and
//! `POSTHOG_HOST`, if it is not PostHog Cloud US) it sends one event to that project instead.

use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{CaptureProtocol, Event, PostHog};
use tokio::time::{Instant, interval, sleep};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    match std::env::var_os("POSTHOG_API_KEY") {
        Some(_) => one_event_to_the_real_posthog().await,
        None => an_outage_and_a_recovery().await,
    }
}

async fn one_event_to_the_real_posthog() -> Outcome {
    let posthog = PostHog::from_env().capture_protocol(CaptureProtocol::Auto).build()?;
    posthog.capture(Event::new("posthog-health quickstart", "quickstart"));
    posthog.flush().await?;
    println!("{}", posthog.health_check().await);
    posthog.shutdown(Duration::from_secs(5)).await;
    println!("ledger: {}", posthog.stats());
    Ok(())
}

async fn an_outage_and_a_recovery() -> Outcome {
    println!("POSTHOG_API_KEY is not set: PostHog is played by this process, over a real socket.\n");
    let server = FakePostHog::start();
    server.reject_events_named(&["bad event"]);
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(server.url())
        .capture_protocol(CaptureProtocol::Auto)
        .build()?;
    let timeline = Timeline { start: Instant::now() };
    let breaker = tokio::spawn(tell_states(posthog.clone(), timeline));
    let traffic = tokio::spawn(capture_500_a_second(posthog.clone(), Duration::from_secs(7)));

    timeline.tell("traffic", "500 events a second for 7 s");
    sleep(Duration::from_secs(2)).await;
    timeline.tell("health", posthog.health_check().await);

    server.capture_v1().always(Reply::status(503));
    timeline.tell("PostHog", "fails: 503 to every batch");
    sleep(Duration::from_secs(3)).await;
    timeline.tell("health", posthog.health_check().await);
    timeline.tell("ledger", posthog.stats());

    server.recover();
    timeline.tell("PostHog", "is back");
    traffic.await?;
    posthog.flush().await?;
    timeline.tell("health", posthog.health_check().await);

    posthog.capture(Event::new("bad event", "user-1"));
    let _ = posthog.flush().await; // An event that is dropped is an error here.
    for letter in posthog.dead_letters() {
        timeline.tell("verdict", format!("drop: {}", letter.answer.as_deref().unwrap_or_default()));
    }

    let report = posthog.shutdown(Duration::from_secs(5)).await;
    breaker.abort();
    timeline.tell("shutdown", format!("{} delivered, {} undelivered", report.delivered, report.undelivered));
    let (requests, distinct) = (server.request_count(Route::CaptureV1), server.distinct());
    println!("\nPostHog saw {requests} requests and took {distinct} distinct events.");
    println!("ledger: {}", posthog.stats());
    Ok(())
}

async fn capture_500_a_second(posthog: PostHog, time: Duration) {
    let mut tick = interval(Duration::from_millis(2));
    for n in 0..time.as_millis() / 2 {
        tick.tick().await;
        posthog.capture(Event::new("page viewed".to_owned(), format!("user-{}", n % 100)));
    }
}

async fn tell_states(posthog: PostHog, timeline: Timeline) {
    let Some(mut states) = posthog.circuit_breaker().map(|breaker| breaker.subscribe()) else { return };
    while states.changed().await.is_ok() {
        let meaning = match *states.borrow_and_update() {
            CircuitState::Open => "open: events wait in the queue, PostHog is left alone",
            CircuitState::HalfOpen => "half open: one batch may try",
            CircuitState::Closed => "closed: delivery goes on",
        };
        timeline.tell("breaker", meaning);
    }
}

#[derive(Clone, Copy)]
struct Timeline {
    start: Instant,
}

impl Timeline {
    fn tell(self, who: &str, what: impl std::fmt::Display) {
        println!("{:5.1} s  {who:<9} {what}", self.start.elapsed().as_secs_f64());
    }
}
