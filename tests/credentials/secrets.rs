//! Guarantee 7 through a rotation: no token in anything that a full run shows or leaves behind.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use metrics_exporter_prometheus::PrometheusBuilder;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{CredentialSource, Event, FlagOptions, Reason, SpoolConfig, SpoolState};
use tracing::Level;

use crate::log::Log;
use crate::support::{MS, builder, capture, reject, until};
use crate::{HOUR, Mount, NEW, OLD};

const SECRET_KEY: &str = "phs_secretKeySecretKeySecretKeySecretKey";

/// Everything below a directory.
fn bytes(directory: &Path) -> Vec<u8> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { bytes(&path) } else { fs::read(path).unwrap() }).collect()
}

#[tokio::test]
async fn no_token_is_shown_or_stored_by_a_run_with_a_rotation() {
    let (log, _logs) = Log::start(Level::TRACE);
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _metrics = metrics::set_default_local_recorder(Box::leak(Box::new(recorder)));
    let (server, mount, disk) = (FakePostHog::start(), Mount::new(), tempfile::tempdir().unwrap());
    let mut shown = format!("{:?} {:?}", mount.source(), CredentialSource::from(OLD));

    // A secret key, the flags that it is for, and what is kept of them.
    let key_mount = Mount::new();
    key_mount.swap(SECRET_KEY);
    server.set_flag("on", true);
    let configured = builder(&server).credentials(mount.source()).spool(SpoolConfig::at(disk.path()));
    let configured = configured.local_evaluation(key_mount.source(), HOUR);
    write!(shown, "{configured:?}").unwrap();
    let posthog = configured.build().unwrap();
    until(|| posthog.health().spool.unwrap().state == SpoolState::Ready).await;
    capture(&posthog, 100);
    posthog.flush().await.unwrap();
    server.definitions().always(Reply::status(401).body(SECRET_KEY));
    write!(shown, "{:?}", posthog.flags("kim", FlagOptions::default()).await).unwrap();
    until(|| log.text().contains("surface=\"flags\"")).await;
    for wrong in ["phc_wrongSecret", "phx_wrong Secret"] {
        key_mount.swap(wrong);
        let error = posthog.reload_credentials().await.unwrap_err();
        write!(shown, "{error} {error:?} {:?}", std::error::Error::source(&error)).unwrap();
    }

    // What PostHog says repeats both, and a batch that it rejects keeps what it said.
    server.reply_to_events_named("poison", Reply::status(400).body(OLD));
    reject(&posthog, Event::new("poison", "user")).await;
    server.know_token(NEW);
    server.revoke_token(OLD);
    server.batch().then(Reply::status(401).body(OLD));
    capture(&posthog, 100);
    until(|| posthog.health().reasons.contains(&Reason::Unauthorized)).await;
    write!(shown, "{} {posthog:?}", posthog.health_check().await).unwrap();
    // It lies on disk before the new token comes.
    until(|| posthog.stats().spooled == 100).await;
    let on_disk = bytes(disk.path());

    for wrong in ["phx_otherSecret", "phc_otherSecret\"", &format!("{NEW}{NEW}"), ""] {
        mount.swap(wrong);
        let error = posthog.reload_credentials().await.unwrap_err();
        write!(shown, "{error} {error:?} {:?}", std::error::Error::source(&error)).unwrap();
    }
    mount.swap(NEW);
    until(|| posthog.stats().delivered == 201).await;
    server.reply_to_events_named("poison", Reply::status(400).body(NEW));
    reject(&posthog, Event::new("poison", "user")).await;
    let letters = posthog.dead_letters();
    write!(shown, "{letters:?} {}", serde_json::to_string(&letters).unwrap()).unwrap();
    write!(shown, "{} {:?} {:?}", posthog.health_check().await, posthog.stats(), posthog.alerts()).unwrap();
    write!(shown, "{:?}", posthog.shutdown(MS(5_000)).await).unwrap();

    let logged = log.text();
    let count = |what: &str| logged.matches(what).count();
    assert_eq!(
        count("the project token in use stays, another cannot be had: credentials is"),
        1,
        "an episode"
    );
    assert_eq!(count("project token changed"), 1);
    let (scraped, left) = (scrape.render(), bytes(disk.path()));
    assert!(disk.path().join("flags.last-known-good").exists(), "flags are among it");
    assert!(scraped.contains("posthog_events_delivered_total 202"), "{scraped}");
    assert!(on_disk.len() > 1_000 && left.len() > 1_000);
    for (what, text) in [
        ("log", logged.as_bytes()),
        ("shown", shown.as_bytes()),
        ("metrics", scraped.as_bytes()),
        ("disk in the outage", &on_disk),
        ("disk at the end", &left),
    ] {
        for secret in [&OLD[4..], &NEW[4..], &SECRET_KEY[4..], "otherSecret", "wrongSecret", "wrong Secret"] {
            let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in: {what}");
        }
    }
}
