//! A client in a process of its own, whose CPU and memory are nobody else's.

use std::process::exit;
use std::time::Duration;

use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, client};
use posthog_health::testing::FakePostHog;
use posthog_health::{Event, PostHog};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::support::process::{memory, tell, wait};
use crate::support::times::cpu_time;
use crate::support::{Arguments, event};
use crate::{LONGEST_DRAIN, RATE, WARM_UP};

/// Events flow.
#[derive(Serialize, Deserialize)]
pub(crate) struct Warm;

#[derive(Serialize, Deserialize)]
pub(crate) struct During {
    /// In all.
    pub(crate) captured: usize,
    pub(crate) cpu: Duration,
    pub(crate) memory: u64,
}

pub(crate) fn run(role: &str, arguments: &Arguments) -> ! {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let value = |flag| arguments.value(flag).expect("all its arguments");
    let (server, number) = (value("--server"), |flag| value(flag).parse().expect("a number"));
    let (outage, queue) = (number("--seconds"), number("--queue"));
    runtime.block_on(async {
        let ledger = match role {
            "ours" => {
                let builder = PostHog::builder(FakePostHog::TOKEN).host(server).queue_events(queue);
                let client = builder.build().expect("a good configuration");
                traffic(outage, |event| client.capture(event)).await;
                let drain = async {
                    let _ = client.flush().await;
                    while client.stats().queued > 0 {
                        sleep(Duration::from_millis(20)).await;
                    }
                };
                let _ = timeout(LONGEST_DRAIN, drain).await;
                client.stats().to_string()
            }
            _ => {
                let client = theirs(server, queue).await;
                traffic(outage, |event| client.capture(event)).await;
                let _ = timeout(LONGEST_DRAIN, client.flush()).await;
                // Dropping it may block.
                std::mem::forget(client);
                "keeps none".to_owned()
            }
        };
        tell(&ledger);
        exit(0);
    })
}

async fn theirs(server: &str, queue: usize) -> Client {
    let mut options = ClientOptionsBuilder::default();
    options.api_key(FakePostHog::TOKEN.to_owned()).host(server.to_owned()).max_queue_size(queue);
    client(options.build().expect("complete options")).await
}

/// Captures at an even rate: before the outage, and, told so, in it.
async fn traffic(outage: usize, capture: impl Fn(Event)) {
    let mut captured = 0;
    let mut feed = async |seconds| {
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE).expect("small"));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..seconds * RATE {
            ticks.tick().await;
            capture(event(captured));
            captured += 1;
        }
        captured
    };
    feed(WARM_UP).await;
    tell(&Warm);
    wait();
    let before = cpu_time();
    let captured = feed(outage).await;
    tell(&During { captured, cpu: cpu_time().saturating_sub(before), memory: memory("VmHWM") });
    wait();
}
