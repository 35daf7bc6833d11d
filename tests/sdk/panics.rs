//! The SDK's panic hook, which only its global client installs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthog_health::posthog_rs::{self, ErrorTrackingOptionsBuilder};
use posthog_health::testing::FakePostHog;
use posthog_health::{DropReason, Event};

use crate::support::{assert_balanced, builder};
use crate::{assert_only_ours_captured, named};

/// The global client is one a process, and so is its hook: a process of its own, this test again.
fn in_a_process_of_its_own(name: &str, case: impl FnOnce()) {
    if std::env::var_os("CASE").is_some() {
        return case();
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env("CASE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_panic_and_the_global_functions_capture_through_us() {
    in_a_process_of_its_own(
        "panics::a_panic_and_the_global_functions_capture_through_us",
        capture_through_us,
    );
}

/// The hook panics while it holds a lock that every event needs. The SDK's panic hook would capture that as an exception
/// and wait for the event, which waits for the lock.
#[test]
fn a_panic_of_a_hook_is_no_panic_of_the_process() {
    in_a_process_of_its_own("panics::a_panic_of_a_hook_is_no_panic_of_the_process", a_hook_panics);
}

#[tokio::main]
async fn a_hook_panics() {
    let server = FakePostHog::start();
    let options = ErrorTrackingOptionsBuilder::default().capture_panics(true).build().unwrap();
    let lock = Mutex::new(());
    let hook = move |event: Event| {
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if event.event_name() == "panic" { panic!("a hook's bug") } else { Some(event) }
    };
    let posthog = builder(&server).error_tracking(options).before_send(hook).build().unwrap();
    // Before and after the SDK has its hook.
    posthog.capture(Event::new("before", "user-1"));
    posthog_rs::init_global(posthog.sdk_options().unwrap()).await.unwrap();
    // Looks at once whether the SDK has its hook, and so needs no time to pass.
    posthog.sdk_options().unwrap();
    for _ in 0..3 {
        posthog.capture(Event::new("panic", "user-1"));
    }
    // One of the service's own is captured as ever.
    tokio::spawn(async { panic!("a bug of the service") }).await.unwrap_err();
    posthog_rs::flush().await;
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().dropped.count(DropReason::HookPanicked), 3);
    let [panic] = &named(&server, "$exception")[..] else { panic!("one event") };
    assert_eq!(panic["properties"]["$exception_list"][0]["value"], "a bug of the service");
    assert_balanced(posthog.stats());
}

#[tokio::main]
async fn capture_through_us() {
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
