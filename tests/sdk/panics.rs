//! The SDK's panic hook, which only its global client installs.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthog_health::posthog_rs::{self, ErrorTrackingOptionsBuilder};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event, PostHog, SpoolConfig, SpoolState};

use crate::support::{assert_balanced, builder, flush_lossy, until};
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

/// With plain posthog-rs it arrives. Here it must not wait for a batch.
#[test]
fn the_panic_that_ends_the_process_arrives() {
    let server = FakePostHog::start();
    ends_with_a_panic("panics::the_panic_that_ends_the_process_arrives", &server.url(), None);
    // Only in the process that is to end does this return.
    let [panic] = &named(&server, "$exception")[..] else { panic!("one event") };
    assert_eq!(panic["properties"]["$exception_list"][0]["value"], "the last one");
}

#[test]
fn with_a_spool_the_panic_that_ends_the_process_is_on_disk() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let directory = tempfile::tempdir().unwrap();
    let name = "panics::with_a_spool_the_panic_that_ends_the_process_is_on_disk";
    ends_with_a_panic(name, &server.url(), Some(directory.path()));
    assert_eq!(named(&server, "$exception").len(), 0);
    server.recover();
    let next = || async {
        let posthog = builder(&server).spool(SpoolConfig::at(directory.path())).build().unwrap();
        server.wait_for_distinct(1).await;
        posthog.shutdown(Duration::from_secs(60)).await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(next());
    assert_eq!(named(&server, "$exception").len(), 1);
}

/// The test of this name in a process of its own, which panics and is aborted by the hook behind the SDK's. Nothing but the
/// panic makes an event leave.
fn ends_with_a_panic(name: &str, url: &str, spool: Option<&Path>) {
    if let Ok(url) = std::env::var("CASE") {
        std::panic::set_hook(Box::new(|_| std::process::abort()));
        // The spool's thread needs no runtime, so even the thread that drives the client may panic.
        let mut runtime = match std::env::var_os("SPOOL") {
            Some(_) => tokio::runtime::Builder::new_current_thread(),
            None => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let options = ErrorTrackingOptionsBuilder::default().capture_panics(true).build().unwrap();
            let hour = Duration::from_secs(3600);
            let builder = PostHog::builder(FakePostHog::TOKEN).host(url).linger(hour).error_tracking(options);
            let posthog = match std::env::var_os("SPOOL") {
                Some(directory) => builder.spool(SpoolConfig::at(directory)),
                None => builder,
            };
            let posthog = posthog.build().unwrap();
            until(|| posthog.health().spool.is_none_or(|spool| spool.state == SpoolState::Ready)).await;
            posthog_rs::init_global(posthog.sdk_options().unwrap()).await.unwrap();
            panic!("the last one");
        });
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env("CASE", url);
    spool.map(|spool| command.env("SPOOL", spool));
    assert!(!command.output().unwrap().status.success(), "it was aborted");
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
    flush_lossy(&posthog).await;
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
