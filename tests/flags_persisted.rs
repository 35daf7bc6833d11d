//! What is known of flags survives a restart, where there is a spool.
#![cfg(feature = "spool")]

#[path = "support/client.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use posthog_health::layers::CircuitBreakerConfig;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{
    AlertName, ErrorKind, FlagOptions, FlagSource, Flags, FlagsConfig, PostHog, SpoolConfig,
};
use support::{MS, builder, until};
use tokio::time::Instant;

const FILE: &str = "flags.last-known-good";
const PATIENCE: Duration = Duration::from_secs(10);

fn options() -> FlagOptions {
    FlagOptions::default()
}

fn start(server: &FakePostHog, directory: &Path) -> PostHog {
    let flags = FlagsConfig::default().timeout(PATIENCE);
    builder(server).flags(flags).spool(SpoolConfig::at(directory)).build().unwrap()
}

fn age(flags: &Flags, key: &str) -> Option<Duration> {
    match flags.source(key) {
        FlagSource::LastKnownGood { age } => Some(age),
        _ => None,
    }
}

async fn of_kim(posthog: &PostHog) -> Flags {
    posthog.flags("kim@example.com", options().group("company", "acme-corp")).await
}

async fn of_lee(posthog: &PostHog) -> Flags {
    posthog.flags("lee@example.com", options().person_property("plan", "s3cret-plan")).await
}

/// A process that asked for two persons, and ended.
async fn leave_behind(server: &FakePostHog, directory: &Path) {
    server.set_flag("on", true);
    server.set_flag("button", "blue");
    let posthog = start(server, directory);
    of_kim(&posthog).await;
    of_lee(&posthog).await;
    posthog.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_start_in_an_outage_answers_as_the_process_before_did() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    // A process that was killed has left this half written.
    fs::write(disk.path().join(format!("{FILE}.next")), "x".repeat(100_000)).unwrap();
    leave_behind(&server, disk.path()).await;
    assert!(!fs::read_to_string(disk.path().join(FILE)).unwrap().contains("xxx"));
    server.always(Reply::status(503));
    let posthog = start(&server, disk.path());
    let flags = of_kim(&posthog).await;
    assert!(flags.is_enabled("on", false), "{flags:?}");
    assert_eq!(flags.variant("button", "red"), "blue");
    assert!(age(&flags, "on").unwrap() < Duration::from_secs(60));
    let other_question = posthog.flags("kim@example.com", options()).await;
    assert_eq!(other_question.source("on"), FlagSource::Default);
    posthog.shutdown(PATIENCE).await;

    // What that one did not ask for outlives it too, and what PostHog says takes its place.
    server.recover();
    server.set_flag("on", false);
    let posthog = start(&server, disk.path());
    assert_eq!(of_kim(&posthog).await.source("on"), FlagSource::Remote);
    posthog.shutdown(PATIENCE).await;
    server.always(Reply::status(503));
    let posthog = start(&server, disk.path());
    let (kim, lee) = (of_kim(&posthog).await, of_lee(&posthog).await);
    assert!(age(&kim, "on").is_some() && !kim.is_enabled("on", true));
    assert!(age(&lee, "on").is_some() && lee.is_enabled("on", false));
}

#[tokio::test]
async fn a_part_of_an_answer_is_filled_from_what_the_process_before_knew() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, disk.path()).await;
    let part = r#"{"flags":{"on":{"key":"on","enabled":false}},"errorsWhileComputingFlags":true}"#;
    server.flags().then(Reply::status(200).body(part));
    let posthog = start(&server, disk.path());
    let flags = of_kim(&posthog).await;
    assert!(flags.source("on") == FlagSource::Remote && !flags.is_enabled("on", true));
    assert!(age(&flags, "button").is_some());
    server.always(Reply::status(503));
    let flags = of_kim(&posthog).await;
    assert!(age(&flags, "on").is_some() && !flags.is_enabled("on", true));
    assert_eq!(flags.variant("button", "red"), "blue");
}

/// A part that came before the file was read once hid what was in it.
#[cfg(unix)]
#[tokio::test]
async fn a_part_waits_for_what_the_process_before_knew() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, disk.path()).await;
    let (file, content) = (disk.path().join(FILE), fs::read(disk.path().join(FILE)).unwrap());
    fs::remove_file(&file).unwrap();
    // Who opens a pipe waits for the other end.
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let part = r#"{"flags":{"on":{"key":"on","enabled":false}},"errorsWhileComputingFlags":true}"#;
    server.flags().then(Reply::status(200).body(part));
    let flags = FlagsConfig::default().timeout(PATIENCE);
    let posthog = builder(&server).flags(flags).spool(SpoolConfig::at(disk.path())).build().unwrap();
    let asked = server.request_count(Route::Flags);
    let asking = posthog.clone();
    let asking = tokio::spawn(async move { of_kim(&asking).await });
    until(|| server.request_count(Route::Flags) > asked).await;
    // A whole answer waits for no disk; the part has come before it.
    assert_eq!(posthog.flags("mia", options()).await.source("on"), FlagSource::Remote);
    tokio::task::spawn_blocking(move || fs::write(file, content)).await.unwrap().unwrap();
    let flags = asking.await.unwrap();
    assert_eq!(flags.source("on"), FlagSource::Remote);
    assert!(age(&flags, "button").is_some(), "{flags:?}");
}

#[tokio::test]
async fn another_host_knows_nothing_of_it() {
    let (server, other, disk) = (FakePostHog::start(), FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, disk.path()).await;
    other.always(Reply::status(503));
    assert_eq!(of_kim(&start(&other, disk.path())).await.source("on"), FlagSource::Default);
}

#[tokio::test]
async fn the_file_is_its_owners_and_names_no_person() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, disk.path()).await;
    for entry in fs::read_dir(disk.path()).unwrap() {
        let path = entry.unwrap().path();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for secret in ["kim@", "lee@", "example.com", "acme-corp", "company", "s3cret", FakePostHog::TOKEN] {
            assert!(!text.contains(secret), "{secret} in {path:?}");
        }
    }
    assert!(fs::read_to_string(disk.path().join(FILE)).unwrap().contains("button"));
}

#[tokio::test]
async fn a_damaged_line_costs_a_person_and_another_format_all() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, disk.path()).await;
    server.always(Reply::status(503));
    let file = disk.path().join(FILE);
    let content = fs::read_to_string(&file).unwrap();
    let known = async |content: String| {
        fs::write(&file, content).unwrap();
        let posthog = start(&server, disk.path());
        let persons = [of_kim(&posthog).await, of_lee(&posthog).await];
        persons.iter().filter(|flags| age(flags, "on").is_some()).count()
    };
    assert_eq!(known(content.clone()).await, 2);
    assert_eq!(known(content.replacen("true", "null", 1)).await, 1);
    assert_eq!(known(content.replace("health flags 1", "health flags 2")).await, 0);
    assert_eq!(known(String::new()).await, 0);
}

/// A directory whose file hangs: opening a pipe waits for the other end.
#[cfg(unix)]
fn hanging_disk() -> tempfile::TempDir {
    let disk = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(disk.path().join(FILE)).status().unwrap();
    assert!(made.success());
    disk
}

/// The first of them an hour, as configured here, which passes in no time on a paused clock.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_hangs_delays_the_first_fallbacks_by_the_timeout_and_nothing_else() {
    let (server, disk) = (FakePostHog::start(), hanging_disk());
    server.set_flag("on", true);
    let hour = Duration::from_secs(3600);
    let breaker = CircuitBreakerConfig::default().min_calls(1).open_time(hour, hour);
    let posthog = builder(&server)
        .flags(FlagsConfig::default().timeout(hour).circuit_breaker(breaker))
        .spool(SpoolConfig::at(disk.path()))
        .build()
        .unwrap();
    let remote = posthog.flags("kim", options()).await;
    assert_eq!(remote.source("on"), FlagSource::Remote, "nobody waits for the disk then");
    server.always(Reply::status(503));
    let first = (0..10).map(|n| {
        let posthog = posthog.clone();
        tokio::spawn(async move { posthog.flags(format!("lee-{n}"), options()).await })
    });
    let first: Vec<_> = first.collect();
    let is_open = || posthog.alerts().iter().any(|alert| alert.name == AlertName::CircuitOpen);
    until(is_open).await;
    assert!(first.iter().all(|fallback| !fallback.is_finished()));

    tokio::time::pause();
    let begun = Instant::now();
    for fallback in first {
        assert_eq!(fallback.await.unwrap().source("on"), FlagSource::Default);
    }
    assert!(begun.elapsed() > hour / 2 && begun.elapsed() <= hour + MS(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..10 {
        posthog.flags("mia", options()).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Who has waited for PostHog has no time left for the disk.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_and_a_posthog_that_hang_delay_by_the_timeout_together() {
    let (server, disk) = (FakePostHog::start(), hanging_disk());
    server.always(Reply::hang());
    let hour = Duration::from_secs(3600);
    let posthog = builder(&server)
        .flags(FlagsConfig::default().timeout(hour))
        .spool(SpoolConfig::at(disk.path()))
        .build()
        .unwrap();
    tokio::time::pause();
    let begun = Instant::now();
    let flags = posthog.flags("kim", options()).await;
    assert_eq!((flags.source("on"), flags.error()), (FlagSource::Default, Some(ErrorKind::Timeout)));
    assert!(begun.elapsed() <= hour + MS(1), "{:?}", begun.elapsed());
}

/// By a process that is stopped, for example.
#[tokio::test]
async fn a_lock_that_is_never_given_back_holds_up_neither_flags_nor_the_end() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let lock = fs::File::create(disk.path().join(format!("{FILE}.lock"))).unwrap();
    lock.lock().unwrap();
    server.set_flag("on", true);
    let posthog = start(&server, disk.path());
    assert_eq!(of_kim(&posthog).await.source("on"), FlagSource::Remote);
    tokio::time::timeout(PATIENCE, posthog.shutdown(MS(400))).await.unwrap();
    assert!(!disk.path().join(FILE).exists());
    assert!(age(&of_kim(&posthog).await, "on").is_some());
    // And then it is written after all.
    lock.unlock().unwrap();
    until(|| disk.path().join(FILE).exists()).await;
}

/// A file stands where the directory should: even root cannot write there.
#[tokio::test]
async fn a_place_where_nothing_can_be_written_costs_the_file_alone() {
    let (server, disk) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let taken = disk.path().join("taken");
    fs::write(&taken, "").unwrap();
    server.set_flag("on", true);
    let posthog = start(&server, &taken.join("spool"));
    assert_eq!(posthog.flags("kim", options()).await.source("on"), FlagSource::Remote);
    posthog.shutdown(PATIENCE).await;
    assert!(fs::read_to_string(&taken).unwrap().is_empty());
}
