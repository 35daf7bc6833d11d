//! Which threads the SDK costs. One test a process, so that all threads are its own.
#![cfg(all(target_os = "linux", feature = "error-tracking"))]

#[path = "support/client.rs"]
mod support;

use std::io;
use std::time::Duration;

use posthog_health::testing::FakePostHog;
use serde_json::json;
use support::{builder, capture, until};

/// Threads of this process, by name; the kernel keeps 15 characters.
fn threads(names: &[&str]) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| names.iter().any(|sought| name.starts_with(sought))).count()
}

fn of_the_sdk() -> usize {
    threads(&["posthog-transpo", "posthog-sdk-end", "reqwest-interna"])
}

#[tokio::test]
async fn whoever_only_captures_pays_no_thread_and_none_is_left_after_shutdown() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 100);
    posthog.alias("anonymous-1", "user-1");
    posthog.group_identify("company", "acme", json!({})).unwrap();
    posthog.set("user-1", json!({})).unwrap();
    posthog.flush().await.unwrap();
    assert!(posthog.sdk_options().is_some());
    assert_eq!(of_the_sdk(), 0);

    let sdk = posthog.sdk().await.unwrap();
    posthog.capture_exception(&io::Error::other("checkout failed"));
    sdk.flush().await;
    assert_eq!(threads(&["posthog-transpo"]), 1, "one for both");
    drop(sdk);
    posthog.shutdown(Duration::from_secs(60)).await;
    // The kernel may show a thread a little longer than it lives.
    until(|| of_the_sdk() == 0).await;
    assert_eq!(posthog.stats().delivered, 104);

    let posthog = builder(&server).build().unwrap();
    let kept = posthog.sdk().await.unwrap();
    kept.flush().await;
    assert_eq!(threads(&["posthog-transpo"]), 1);
    drop(posthog);
    until(|| of_the_sdk() == 0).await;
    drop(kept);
}
