//! The README's test of a service, word for word.

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{Event, PostHog};

#[tokio::test]
async fn an_order_survives_a_503() {
    let server = FakePostHog::start();
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build().unwrap();
    server.batch().then(Reply::status(503)); // the next request only
    posthog.capture(Event::new("order placed", "user-123"));
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 1);
}
