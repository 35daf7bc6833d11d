//! Flags that are evaluated here, by definitions that are fetched with a secret key.

mod answers;
mod fetching;
mod secret_keys;
#[path = "../support/client.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{CredentialSource, FlagOptions, FlagSource, Flags, PostHog};
use serde_json::{Value, json};
use support::builder;

const HOUR: Duration = Duration::from_secs(3600);
/// The shortest that there is.
const OFTEN: Duration = Duration::from_secs(1);

fn options() -> FlagOptions {
    FlagOptions::default()
}

fn start(server: &FakePostHog) -> PostHog {
    server.set_flag("on", true);
    server.set_flag("off", false);
    server.set_flag("button", "blue");
    builder(server).local_evaluation(FakePostHog::SECRET_KEY, HOUR).build().unwrap()
}

/// Its key is looked at so rarely that nothing in a test is due to it.
fn start_with_key_in(server: &FakePostHog, file: &Path) -> PostHog {
    server.set_flag("on", true);
    fs::write(file, FakePostHog::SECRET_KEY).unwrap();
    let source = CredentialSource::file(file).check_every(HOUR);
    builder(server).local_evaluation(source, HOUR).build().unwrap()
}

fn is_local(flags: &Flags, key: &str) -> bool {
    matches!(flags.source(key), FlagSource::Local { .. })
}

/// Asks until the definitions are there.
async fn once_local(posthog: &PostHog) -> Flags {
    let asked = async {
        loop {
            let flags = posthog.flags("kim", options().only(["on"])).await;
            if is_local(&flags, "on") {
                return flags;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap()
}

/// Definitions of one flag that is on for persons of this plan.
fn for_plan(plan: &str) -> Value {
    let property = json!({"key": "plan", "value": plan, "operator": "exact", "type": "person"});
    json!({
        "key": "for-plan", "active": true,
        "filters": {
            "groups": [{"properties": [property], "rollout_percentage": 100.0}],
            "payloads": {"true": "{\"seats\": 5}"},
        },
    })
}

fn definitions(flags: &[Value]) -> Reply {
    let body = json!({"flags": flags, "group_type_mapping": {}, "cohorts": {}});
    Reply::status(200).header("content-type", "application/json").body(body.to_string())
}
