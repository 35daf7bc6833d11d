//! A file of a version that knew only V0, kept in `tests/spool/old`: 20 events of the SDK's type, 20 typed ones and a last one.

use std::fs;
use std::io::Read;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Route};
use posthog_health::{CaptureProtocol, SpoolConfig};
use serde_json::Value;

use super::support::{assert_balanced, until};

const FILE: &[u8] = include_bytes!("old/spool-0.redb.gz");

#[tokio::test]
async fn a_file_from_before_capture_v1_is_delivered_by_v0_and_by_v1() {
    for (protocol, route) in [(CaptureProtocol::V0, Route::Batch), (CaptureProtocol::V1, Route::CaptureV1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut file = Vec::new();
        flate2::read::GzDecoder::new(FILE).read_to_end(&mut file).unwrap();
        fs::write(directory.path().join("spool-0.redb"), file).unwrap();
        let server = FakePostHog::start();
        let spool = SpoolConfig::at(directory.path()).max_age(Duration::from_secs(3650 * 86_400));
        let posthog = super::builder(&server).spool(spool).capture_protocol(protocol).build().unwrap();
        until(|| posthog.stats().delivered == 41).await;
        assert_eq!((server.distinct(), server.request_count(route)), (41, server.requests().len()));
        assert_balanced(posthog.stats());
        for event in server.events() {
            let Some(name) = event["event"].as_str().filter(|name| name.starts_with("old")) else { continue };
            let place = if protocol == CaptureProtocol::V1 { &event } else { &event["properties"] };
            let session = if protocol == CaptureProtocol::V1 { "session_id" } else { "$session_id" };
            let number = name.rsplit(' ').next().unwrap();
            assert_eq!(place[session], Value::from(format!("session-{number}")), "{event}");
        }
    }
}
