//! The SDK's panic hook, which only its global client installs.

use std::time::Duration;

use posthog_health::posthog_rs::{self, ErrorTrackingOptionsBuilder};
use posthog_health::testing::FakePostHog;
use posthog_health::{DropReason, Event};

use crate::support::{assert_balanced, builder};
use crate::{assert_only_ours_captured, named};

/// The global client is one a process, and so is its hook: a process of its own, this test again.
#[test]
fn a_panic_and_the_global_functions_capture_through_us() {
    const NAME: &str = "panics::a_panic_and_the_global_functions_capture_through_us";
    if std::env::var_os("CASE").is_some() {
        return in_a_process_of_its_own();
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", NAME, "--nocapture"]).env("CASE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::main]
async fn in_a_process_of_its_own() {
    let server = FakePostHog::start();
    let options = ErrorTrackingOptionsBuilder::default().capture_panics(true).build().unwrap();
    let posthog = builder(&server).error_tracking(options).build().unwrap();
    posthog_rs::init_global(posthog.sdk_options().unwrap()).await.unwrap();

    tokio::spawn(async { panic!("a bug of the service") }).await.unwrap_err();
    posthog_rs::capture(Event::new("by the global client", "user-1"));
    posthog_rs::flush().await;
    posthog.flush().await.unwrap();

    let [panic] = &named(&server, "$exception")[..] else { panic!("one event") };
    let exception = &panic["properties"]["$exception_list"][0];
    assert_eq!((&exception["type"], &exception["value"]), (&"Panic".into(), &"a bug of the service".into()));
    assert_eq!(named(&server, "by the global client").len(), 1);

    posthog.shutdown(Duration::from_secs(60)).await;
    posthog_rs::capture(Event::new("too late", "user-1"));
    posthog_rs::shutdown().await;
    assert_eq!(
        posthog.stats().dropped.count(DropReason::AfterShutdown),
        1,
        "the global client is still there"
    );
    assert_balanced(posthog.stats());
    assert_only_ours_captured(&server);
}
