use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Reason, SpoolIssue, SpoolMode, SpoolState};
use posthog_health::{PostHog, SpoolConfig};

use crate::support::{assert_balanced, capture, event, until};
use crate::{is_ready, leave_behind, spool, spooled};

/// Whatever is wrong with the disk, events are delivered from memory, and health says what it is.
async fn works_without(directory: &std::path::Path, issue: SpoolIssue) {
    let server = FakePostHog::start();
    let posthog = spooled(&server, directory).build().unwrap();
    until(|| spool(&posthog).state == SpoolState::Failing).await;
    let health = posthog.health();
    assert_eq!(health.spool.unwrap().issue, Some(issue));
    assert_eq!(health.reasons, [Reason::SpoolFailing]);
    assert!(health.to_json().contains(issue.detail()));
    capture(&posthog, 250);
    posthog.flush().await.unwrap();
    assert_eq!((server.distinct(), posthog.stats().delivered), (250, 250));
    let refused = posthog.capture_durable(event(0)).await.unwrap_err();
    assert_eq!(refused.reason, DropReason::SpoolUnavailable);
    assert_balanced(posthog.stats());
    let report = posthog.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.undelivered, report.spooled), (0, 0));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    works_without(&file.join("spool"), SpoolIssue::NoDirectory).await;
}

/// Not even root may make a directory there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_directory_without_permission_stops_nothing() {
    works_without(std::path::Path::new("/sys/posthog-spool"), SpoolIssue::NoPermission).await;
}

/// Other processes, or a file system on which nothing can be locked, as a network's may be.
#[tokio::test]
async fn a_directory_whose_files_are_all_locked_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let locked = |slot| {
        let lock = std::fs::File::create(directory.path().join(format!("spool-{slot}.lock"))).unwrap();
        lock.try_lock().unwrap();
        lock
    };
    let _locks: Vec<_> = (0..64).map(locked).collect();
    works_without(directory.path(), SpoolIssue::InUse).await;
}

#[tokio::test]
async fn without_a_spool_capture_durable_says_so() {
    let server = FakePostHog::start();
    let posthog = crate::support::builder(&server).build().unwrap();
    let refused = posthog.capture_durable(event(0)).await.unwrap_err();
    assert_eq!(refused.reason, DropReason::SpoolUnavailable);
    assert!(
        refused.to_string().starts_with("the event was not taken: spool_unavailable; PostHogBuilder::spool")
    );
    let disabled = PostHog::builder("").disabled(true).build().unwrap();
    assert_eq!(disabled.capture_durable(event(0)).await.unwrap_err().reason, DropReason::Disabled);
    posthog.shutdown(Duration::from_secs(1)).await;
    assert_eq!(posthog.capture_durable(event(0)).await.unwrap_err().reason, DropReason::AfterShutdown);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_what_can_be_read_is_delivered() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 1_000).await;
    let file = directory.path().join("spool-0.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    // The tree's header: redb finds nothing any more.
    bytes[..4096].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| posthog.stats().delivered == 1_000).await;
    let health = posthog.health();
    assert_eq!(health.spool.unwrap().issue, Some(SpoolIssue::Damaged));
    assert!(health.reasons.contains(&Reason::SpoolDamaged));
    assert_eq!(server.distinct(), 1_000);
    assert_balanced(posthog.stats());
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    let set_aside =
        names.iter().find(|name| name.to_string_lossy().contains("spool-0.redb.damaged-")).unwrap();
    assert_eq!(std::fs::read(directory.path().join(set_aside)).unwrap(), bytes, "it is what it was");
}

/// Guarantee 7, and nobody else reads what waits there.
#[cfg(unix)]
#[tokio::test]
async fn the_files_hold_no_token_and_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (server, parent) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let directory = parent.path().join("a/spool");
    server.batch().always(Reply::status(401).body(FakePostHog::TOKEN));
    let config = SpoolConfig::at(&directory).mode(SpoolMode::WriteAhead);
    let posthog = spooled(&server, &directory).spool(config).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 300);
    until(|| posthog.stats().spooled == 300).await;
    posthog.shutdown(Duration::from_secs(1)).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut seen_events = false;
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(FakePostHog::TOKEN));
        seen_events |= text.contains("user-299");
    }
    assert!(seen_events);
}

#[tokio::test]
async fn an_empty_path_is_refused_by_build() {
    let error = PostHog::builder("phc_abc").spool(SpoolConfig::at("")).build().unwrap_err();
    assert_eq!(error.field(), "spool");
    let error = PostHog::builder("phc_abc").spool(SpoolConfig::at("x").max_bytes(1)).build().unwrap_err();
    assert_eq!(error.field(), "spool.max_bytes");
    let error =
        PostHog::builder("phc_abc").spool(SpoolConfig::at("x").max_age(Duration::ZERO)).build().unwrap_err();
    assert_eq!(error.field(), "spool.max_age");
}

/// A process may not write more than 300 KB to a file: as a full disk, but without a disk. The signal that
/// comes with it is ignored, as a service would.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_fills_up_stops_nothing() {
    if std::env::var_os("FILLS_UP").is_none() {
        let shell =
            "ulimit -f 300; trap '' XFSZ; exec \"$0\" --exact faults::a_disk_that_fills_up_stops_nothing";
        let mut command = std::process::Command::new("bash");
        command.args(["-c", shell]).arg(std::env::current_exe().unwrap()).env("FILLS_UP", "1");
        let output = command.output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 6_000);
    until(|| spool(&posthog).state == SpoolState::Failing).await;
    assert_eq!(spool(&posthog).issue, Some(SpoolIssue::DiskFull));
    assert_eq!(posthog.stats().dropped.total(), 0);
    assert_balanced(posthog.stats());
    server.accept();
    until(|| posthog.stats().delivered == 6_000).await;
    assert_eq!(server.distinct(), 6_000);
    assert_balanced(posthog.stats());
}
